"""The sections of a network's heads, one for each type of task that has a choice. Not here: the heads themselves (tasks)."""

from __future__ import annotations

from typing import Literal

from fedtap.scenario.settings import Positive, Settings


class ReconstructionSettings(Settings):
    """``grid`` decodes from the token sequence with position queries; ``pooled`` is the paper's head, from one vector."""

    head: Literal["grid", "pooled"] = "grid"


class ClassificationSettings(Settings):
    """``grid`` keeps where image tokens lie apart (at most 3 x 3 places); ``pooled`` is the paper's head, from their mean."""

    head: Literal["grid", "pooled"] = "grid"


class TextGenerationSettings(Settings):
    """How training sums over the vocabulary: all of it (``full``), or a shortlist (``sampled``).

    The shortlist is the words of the batch's own answers and ``shortlist`` others, drawn anew for each step; the sum over the
    whole vocabulary is estimated from them without bias. Validation, tests and distillation are exact. Steps of text tasks are
    cheaper, losses in the log are estimates. On the quickstart rounds take 0.7 times as long, and up to two percent of a text
    task's cross-entropy are lost, one with 4096 words (docs/research-log.md).
    """

    softmax: Literal["full", "sampled"] = "full"
    shortlist: Positive = 1024

    @property
    def drawn(self) -> int | None:
        """How many words are drawn for a step; None: the sum is exact."""
        return self.shortlist if self.softmax == "sampled" else None
