"""Accuracy, macro F1 and cross-entropy of a classifier, summed over examples; on request balanced accuracy and AUROC."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from fedtap.metrics.table import Values


class ClassificationScores:
    r"""Accumulate ``accuracy``, ``macro_f1`` and ``cross_entropy`` (nats).

    ``macro_f1`` is the unweighted mean of :math:`F_1 = 2 TP / (2 TP + FP + FN)` over the classes present in the targets; a
    client of a skewed federation has examples of some classes only, and the absent ones say nothing about its model.

    On request ``balanced_accuracy``, the unweighted mean over the classes present in the targets of the share of their examples
    that is answered right; and ``auroc``, the unweighted mean over the same classes of the area under the ROC curve of the
    class's probability, against all others: how often an example of the class has more of it than one of another, half a case
    where they have the same. Where all targets are of one class there is no such curve, and ``auroc`` is left out.

    Parameters
    ----------
    classes
        The number of classes C.
    beside
        Which of these two are asked for.

    Examples
    --------
    >>> scores = ClassificationScores(2)
    >>> scores.update(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    >>> scores.value()["accuracy"]
    (0.5, 2)
    """

    def __init__(self, classes: int, beside: Collection[str] = ()) -> None:
        if classes < 1:
            raise ValueError(f"classes is {classes}; a classifier has at least one")
        self._classes = classes
        self._hits = torch.zeros(classes, dtype=torch.long)
        self._predicted = torch.zeros(classes, dtype=torch.long)
        self._present = torch.zeros(classes, dtype=torch.long)
        self._nats = 0.0
        self._right: list[float] = []
        self._beside = frozenset(beside)
        self._given: list[tuple[Tensor, Tensor]] = []  # probabilities and targets: a curve needs all of them at once

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
        if "auroc" in self._beside:
            self._given.append((logits.softmax(dim=1), target))
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
        found = {
            "accuracy": (int(self._hits.sum()) / n, n),
            "macro_f1": (float(f1.mean()), n),
            "cross_entropy": (self._nats / n, n),
        }
        if "balanced_accuracy" in self._beside:
            found["balanced_accuracy"] = (float((self._hits[present].double() / self._present[present]).mean()), n)
        if "auroc" in self._beside and int(present.sum()) > 1:
            found["auroc"] = (self._auroc(present.nonzero().flatten().tolist()), n)
        return found

    def _auroc(self, classes: list[int]) -> float:
        """Return the mean area over these classes; no number, where a model has diverged."""
        from torchmetrics.functional.classification import binary_auroc  # torchmetrics takes long to load

        shares, targets = (torch.cat(parts) for parts in zip(*self._given, strict=True))
        if not bool(shares.isfinite().all()):
            return float("nan")
        areas = [binary_auroc(shares[:, each], (targets == each).long()) for each in classes]
        return float(torch.stack(areas).mean())
