"""Regression: a number, learned by its squared error in the unit that the scenario's ``scale`` gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.metrics.regression import RegressionScores
from fedtap.metrics.text import Reference
from fedtap.tasks.base import Fused, HeadSizes, Losses, ScoreSettings, TaskType, Words
from fedtap.tasks.classification import Classification


class Regression(TaskType):
    """A number; a target is the number where the ends of the task's scale are -1 and 1.

    The head is that of a classification with one class, with the same setting, and starts in the middle of the scale.
    """

    name = "regression"
    is_distribution = False

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return the head that ``network.classification.head`` names, with one output."""
        return Classification().build_head(replace(sizes, classes=1))

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return numbers ``(n,)``."""
        numbers: Tensor = head(fused)[:, 0]
        return numbers

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Squared errors of numbers ``(n,)``."""
        total = (output - target).square()
        return Losses(total, torch.ones_like(total))

    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        """Return the squared error to the teacher's number, mean over examples; there is no distribution to soften."""
        return F.mse_loss(student, teacher)

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> Tensor:
        """Return numbers ``(n,)``, still on the scale from -1 to 1: the user's unit is the caller's to give."""
        numbers: Tensor = head(fused)[:, 0] if output is None else output
        return numbers

    def new_scores(self, settings: ScoreSettings) -> RegressionScores:
        """Return MAE, MSE and R2, in the user's unit."""
        assert settings.scale is not None
        return RegressionScores(settings.scale)

    def score(
        self,
        scores: RegressionScores,
        answers: Any,
        output: Tensor,
        target: Tensor,
        words: Words | None,
        written: Sequence[Reference] = (),
    ) -> None:
        """Add examples by their numbers."""
        scores.update(output, target)
