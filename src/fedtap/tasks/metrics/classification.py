"""Accuracy, macro F1 and cross-entropy of a classifier, summed over examples."""

from __future__ import annotations

import torch
from torch import Tensor

from fedtap.tasks.metrics.table import Values


class ClassificationScores:
    r"""Accumulate ``accuracy``, ``macro_f1`` and ``cross_entropy`` (nats).

    ``macro_f1`` is the unweighted mean of :math:`F_1 = 2 TP / (2 TP + FP + FN)` over the classes present in the targets; a
    client of a skewed federation has examples of some classes only, and the absent ones say nothing about its model.

    Parameters
    ----------
    classes
        The number of classes C.

    Examples
    --------
    >>> scores = ClassificationScores(2)
    >>> scores.update(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    >>> scores.value()["accuracy"]
    (0.5, 2)
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise ValueError(f"classes is {classes}; a classifier has at least one")
        self._classes = classes
        self._hits = torch.zeros(classes, dtype=torch.long)
        self._predicted = torch.zeros(classes, dtype=torch.long)
        self._present = torch.zeros(classes, dtype=torch.long)
        self._nats = 0.0
        self._right: list[float] = []

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch.

        Parameters
        ----------
        logits
            ``(n, C)`` floating point, on any device.
        target
            ``(n,)`` long, the class index of each example.

        Raises
        ------
        ValueError
            If the shapes do not fit together, or a target is no class.
        """
        if logits.ndim != 2 or logits.shape[1] != self._classes or target.shape != logits.shape[:1]:
            raise ValueError(
                f"logits {tuple(logits.shape)} and target {tuple(target.shape)}: expected (n, {self._classes}) and (n,)"
            )
        logits, target = logits.detach().cpu().double(), target.detach().cpu()
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < self._classes:
            raise ValueError(
                f"targets run from {int(target.min())} to {int(target.max())}; expected class indices from 0 to "
                f"{self._classes - 1}"
            )
        predicted = logits.argmax(dim=1)
        self._right += (predicted == target).double().tolist()
        self._hits += torch.bincount(target[predicted == target], minlength=self._classes)
        self._predicted += torch.bincount(predicted, minlength=self._classes)
        self._present += torch.bincount(target, minlength=self._classes)
        self._nats -= float(logits.log_softmax(dim=1).gather(1, target[:, None]).sum())

    def outcomes(self, metric: str) -> list[float]:
        """Return, in the order in which they came, whether each example was answered right: what ``accuracy`` is the mean of."""
        return {"accuracy": self._right}[metric]

    def value(self) -> Values:
        """Return the metrics over all examples given so far.

        Raises
        ------
        ValueError
            If there was none.
        """
        n = int(self._present.sum())
        if n == 0:
            raise ValueError("no example to score; call update() with at least one before value()")
        present = self._present > 0
        # 2 TP + FP + FN is the number predicted plus the number present, so it is never zero for a class that is present
        f1 = 2 * self._hits[present].double() / (self._predicted[present] + self._present[present])
        return {
            "accuracy": (int(self._hits.sum()) / n, n),
            "macro_f1": (float(f1.mean()), n),
            "cross_entropy": (self._nats / n, n),
        }
