"""Data sources, by the name that a scenario gives them. A new source is one file here and one line in the registry."""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.data.sources.ag_news import AGNews
from fedtap.data.sources.base import Source
from fedtap.data.sources.caltech256 import CALTECH256
from fedtap.data.sources.cifar100 import CIFAR100
from fedtap.data.sources.common_gen import CommonGen
from fedtap.data.sources.concepts import Concepts
from fedtap.data.sources.dataset import SavedDataset
from fedtap.data.sources.dialogues import COMPUTING, SMALL_TALK, TRIVIA
from fedtap.data.sources.digits import Digits
from fedtap.data.sources.easy_vqa import EasyVQA
from fedtap.data.sources.emoji import EMOJI_GOOGLE, EMOJI_TWITTER
from fedtap.data.sources.fashion_mnist import FASHION_MNIST
from fedtap.data.sources.folder import Folder
from fedtap.data.sources.mmlu import MORAL_SCENARIOS, PROFESSIONAL_LAW, PROFESSIONAL_MEDICINE
from fedtap.data.sources.sentiment import LONG_SENTIMENT, SENTIMENT
from fedtap.data.sources.spreadsheet import Spreadsheet
from fedtap.data.sources.tables import CSV, JSONLines
from fedtap.data.sources.tiny_imagenet import TINY_IMAGENET
from fedtap.data.sources.vqa_v2 import VQAv2
from fedtap.runtime.errors import UserError, nearest

__all__ = ["SOURCES", "Source", "source"]

_REGISTRY: tuple[Source, ...] = (
    Digits(),
    SENTIMENT,
    LONG_SENTIMENT,
    EasyVQA(),
    EMOJI_GOOGLE,
    EMOJI_TWITTER,
    TRIVIA,
    SMALL_TALK,
    COMPUTING,
    Concepts(),
    AGNews(),
    TINY_IMAGENET,
    CIFAR100,
    CALTECH256,
    FASHION_MNIST,
    VQAv2(),
    PROFESSIONAL_LAW,
    PROFESSIONAL_MEDICINE,
    MORAL_SCENARIOS,
    CommonGen(),
    Folder(),
    CSV(),
    JSONLines(),
    Spreadsheet(),
    SavedDataset(),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _REGISTRY}


def source(name: str) -> Source:
    """Return the data source of a name.

    Raises
    ------
    UserError
        If there is none, with the nearest name.
    """
    try:
        return SOURCES[name]
    except KeyError:
        raise UserError(f"source '{name}': there is none; {nearest(name, SOURCES)}") from None
