"""Classification: a head on the fused tokens, cross-entropy, distillation of the class distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.metrics.classification import ClassificationScores
from fedtap.metrics.text import Reference
from fedtap.tasks.base import Fused, HeadSizes, Losses, ScoreSettings, TaskType, Words
from fedtap.tasks.token_grid import grid_side, pool_grid

PLACES = 3  # a side, at the most


class PooledHead(nn.Module):
    """The paper's head, from the masked mean of all tokens: a linear map beside an MLP; both start at zero."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, classes)
        self.hidden = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, classes, bias=False)

    @torch.no_grad()
    def start(self, _generator: torch.Generator) -> None:
        """Start at zero logits: every class equally likely, and the linear map as logistic regression does."""
        self.linear.weight.zero_()
        self.out.weight.zero_()

    def forward(self, fused: Fused) -> Tensor:
        """Return logits ``(n, classes)``."""
        pooled = self.norm(fused.pooled())
        logits: Tensor = self.linear(pooled) + self.out(F.gelu(self.hidden(pooled)))
        return logits


class GridHead(PooledHead):
    """The pooled head, and beside it a linear map of the tokens at their places.

    Where a stroke lies tells digits apart; its mean over the picture does not. On frozen features of the digits, logistic
    regression from 3 x 3 places beat the one from their mean by 5 to 10 points.
    """

    def __init__(self, dim: int, classes: int, side: int, lead: int = 0) -> None:
        super().__init__(dim, classes)
        self.lead = lead
        self.kept = min(side, PLACES)
        self.place_norm = nn.LayerNorm(dim)
        self.places = nn.Linear(dim * self.kept**2, classes, bias=False)

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Start at zero logits."""
        super().start(generator)
        self.places.weight.zero_()

    def forward(self, fused: Fused) -> Tensor:
        """Return logits ``(n, classes)``; the tokens after the leading ones are those of the grid, row by row."""
        places = self.place_norm(pool_grid(fused.tokens[:, self.lead :], self.kept))
        # scaled so that many places do not learn faster, together, than their mean would
        logits: Tensor = super().forward(fused) + self.places(places.flatten(1) / self.kept)
        return logits


class Classification(TaskType):
    """One of a fixed list of classes; a target is its index."""

    name = "classification"
    is_distribution = True

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return the head that ``network.classification.head`` names.

        Places need a square grid of image tokens and nothing else; text, pairs and other token sequences are pooled.
        """
        side = grid_side(sizes.modality, sizes.vision_tokens - sizes.vision_lead)
        if sizes.network.classification.head == "grid" and side is not None:
            return GridHead(sizes.network.dim, sizes.classes, side, sizes.vision_lead)
        return PooledHead(sizes.network.dim, sizes.classes)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return logits ``(n, classes)``."""
        logits: Tensor = head(fused)
        return logits

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Cross-entropy of logits ``(n, classes)`` against class indices ``(n,)``."""
        total = F.cross_entropy(output, target, reduction="none")
        return Losses(total, torch.ones_like(total))

    def wrong(self, output: Tensor, target: Tensor, words: Words | None) -> Tensor:
        """Return whether the likeliest class is another than the target's."""
        return output.argmax(dim=-1) != target

    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        """Return ``tau^2 KL(teacher || student)`` of the softened class distributions, mean over examples."""
        p, q = F.log_softmax(teacher / temperature, -1), F.log_softmax(student / temperature, -1)
        return temperature**2 * F.kl_div(q, p, log_target=True, reduction="batchmean")

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> Tensor:
        """Return class probabilities ``(n, classes)``."""
        logits: Tensor = head(fused) if output is None else output
        return logits.softmax(dim=-1)

    def new_scores(self, settings: ScoreSettings) -> ClassificationScores:
        """Return accuracy, macro-F1 and cross-entropy, and what is asked for beside them."""
        return ClassificationScores(settings.classes, settings.class_metrics)

    def score(
        self,
        scores: ClassificationScores,
        answers: Any,
        output: Tensor,
        target: Tensor,
        words: Words | None,
        written: Sequence[Reference] = (),
    ) -> None:
        """Add examples by their logits."""
        scores.update(output, target)
