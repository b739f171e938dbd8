"""Multi-label classification: any number of a fixed list of labels, a sigmoid each, binary cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.metrics.multilabel import MultilabelScores, f1_of_each
from fedtap.metrics.text import Reference
from fedtap.tasks.base import Fused, HeadSizes, Losses, ScoreSettings, TaskType, Words
from fedtap.tasks.classification import Classification


class MultilabelClassification(TaskType):
    """Those of a fixed list of labels that hold; a target has a 1 for each of them and a 0 for each other, ``(labels,)`` float32.

    The head is that of classification, with the same setting. A label is answered where its probability is above one half.
    """

    name = "multilabel_classification"
    is_distribution = True

    def build_head(self, sizes: HeadSizes) -> nn.Module:
        """Return the head that ``network.classification.head`` names."""
        return Classification().build_head(sizes)

    def run(self, head: nn.Module, fused: Fused, target: Tensor, words: Words | None) -> Tensor:
        """Return logits ``(n, labels)``."""
        logits: Tensor = head(fused)
        return logits

    def losses(self, output: Tensor, target: Tensor, words: Words | None) -> Losses:
        """Binary cross-entropy of logits ``(n, labels)``, in nats, mean over the labels of an example."""
        total = F.binary_cross_entropy_with_logits(output, target, reduction="none").mean(dim=1)
        return Losses(total, total.new_ones(total.shape))

    def wrong(self, output: Tensor, target: Tensor, words: Words | None) -> Tensor:
        """Return what each answer lacks of an F1 of 1, ``(n,)``."""
        return 1.0 - f1_of_each(output > 0, target > 0)

    def distance(
        self, student: Tensor, teacher: Tensor, target: Tensor, words: Words | None, temperature: float
    ) -> Tensor:
        r"""Return :math:`\tau^2 KL(teacher || student)` of each label's softened chance, mean over labels and examples."""
        t, s = teacher / temperature, student / temperature
        holds = t.sigmoid() * (F.logsigmoid(t) - F.logsigmoid(s))
        holds_not = (-t).sigmoid() * (F.logsigmoid(-t) - F.logsigmoid(-s))
        return temperature**2 * (holds + holds_not).mean()

    def answers(self, head: nn.Module, fused: Fused, output: Tensor | None, words: Words | None) -> Tensor:
        """Return each label's probability ``(n, labels)``."""
        logits: Tensor = head(fused) if output is None else output
        return logits.sigmoid()

    def new_scores(self, settings: ScoreSettings) -> MultilabelScores:
        """Return F1 per example, by label and over all, mean average precision, cross-entropy, and what is asked for beside."""
        return MultilabelScores(settings.classes, settings.class_metrics)

    def score(
        self,
        scores: MultilabelScores,
        answers: Any,
        output: Tensor,
        target: Tensor,
        words: Words | None,
        written: Sequence[Reference] = (),
    ) -> None:
        """Add examples by their logits."""
        scores.update(output, target)
