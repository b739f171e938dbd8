"""Classification: an MLP on the masked mean of the fused tokens, cross-entropy, distillation of the class distribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.tasks.base import Fused, HeadSizes, Losses, TaskType, Words
from fedtap.tasks.metrics import ClassificationScores


class ClassificationHead(nn.Module):
    """Pool, normalise, then a linear map beside an MLP whose last layer starts at zero: it starts as logistic regression."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, classes)
        self.hidden = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, classes, bias=False)

    @torch.no_grad()
    def start(self, _generator: torch.Generator) -> None:
        """Start both outputs at zero: every class equally likely."""
        self.linear.weight.zero_()
        self.out.weight.zero_()

    def forward(self, fused: Fused) -> Tensor:
        """Return logits ``(n, classes)``."""
        pooled = self.norm(fused.pooled())
        logits: Tensor = self.linear(pooled) + self.out(F.gelu(self.hidden(pooled)))
        return logits


class Classification(TaskType):
    """One of a fixed list of classes; a target is its index."""

    name = "classification"

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return an MLP head."""
        return ClassificationHead(sizes.network.dim, sizes.classes)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return logits ``(n, classes)``."""
        logits: Tensor = head(fused)
        return logits

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Cross-entropy of logits ``(n, classes)`` against class indices ``(n,)``."""
        total = F.cross_entropy(output, target, reduction="none")
        return Losses(total, torch.ones_like(total))

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

    def new_scores(self, classes: int) -> ClassificationScores:
        """Return accuracy, macro-F1 and cross-entropy."""
        return ClassificationScores(classes)

    def score(
        self,
        scores: ClassificationScores,
        head: nn.Module,
        fused: Fused,
        output: Tensor,
        target: Tensor,
        words: Words | None,
    ) -> None:
        """Add examples by their logits."""
        scores.update(output, target)
