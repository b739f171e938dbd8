"""The sections of a network's heads, one for each type of task that has a choice. Not here: the heads themselves (tasks)."""

from __future__ import annotations

from typing import Literal

from fedtap.scenario.settings import Settings


class ReconstructionSettings(Settings):
    """``grid`` decodes from the token sequence with position queries; ``pooled`` is the paper's head, from one vector."""

    head: Literal["grid", "pooled"] = "grid"


class ClassificationSettings(Settings):
    """``grid`` keeps where image tokens lie apart (at most 3 x 3 places); ``pooled`` is the paper's head, from their mean."""

    head: Literal["grid", "pooled"] = "grid"
