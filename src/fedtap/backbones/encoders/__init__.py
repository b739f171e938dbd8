"""Encoders of the library ``transformers`` in parts: one interface, a table of facts. Not here: weights, pixels and tokens."""

from fedtap.backbones.encoders.facts import FACTS, Facts, facts_of
from fedtap.backbones.encoders.kinds import adapters, check_targets, model_class, skeleton, split
from fedtap.backbones.encoders.split import SplitEncoder

__all__ = [
    "FACTS",
    "Facts",
    "SplitEncoder",
    "adapters",
    "check_targets",
    "facts_of",
    "model_class",
    "skeleton",
    "split",
]
