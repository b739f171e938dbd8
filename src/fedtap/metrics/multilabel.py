"""F1 of label sets, mean average precision and cross-entropy where an example has any number of labels, summed over examples."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from fedtap.metrics.table import Values


class MultilabelScores:
    r"""Accumulate ``example_f1``, ``micro_f1``, ``macro_f1``, ``average_precision`` and ``cross_entropy``.

    A label is answered where its logit is above 0, its probability above one half.

    - ``example_f1``: the mean over examples of :math:`2 |A \cap B| / (|A| + |B|)` of the labels answered and the right ones, 1
      where both are none.
    - ``micro_f1``: :math:`2 TP / (2 TP + FP + FN)` over all labels of all examples; left out where there is nothing to count.
    - ``macro_f1``: the unweighted mean of the same over the labels present in the targets; left out where there are none.
    - ``average_precision``: the mean over the same labels of the average precision of their probability (mAP).
    - ``cross_entropy``: nats, mean over labels and examples.

    On request, as means over the labels that some examples have and others have not, and left out where there are none:
    ``auroc``, and ``balanced_accuracy``, the mean of the shares of those that have the label and of those that have not for which
    that is answered.

    Parameters
    ----------
    labels
        The number of labels L.
    beside
        Which of these two are asked for.

    Examples
    --------
    >>> scores = MultilabelScores(2)
    >>> scores.update(torch.tensor([[2.0, 2.0], [-2.0, -2.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    >>> round(scores.value()["example_f1"][0], 4), scores.value()["macro_f1"]
    (0.8333, (1.0, 2))
    """

    def __init__(self, labels: int, beside: Collection[str] = ()) -> None:
        if labels < 1:
            raise ValueError(f"labels is {labels}; there is at least one")
        self._labels = labels
        self._beside = frozenset(beside)
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch.

        Parameters
        ----------
        logits
            ``(n, L)`` floating point, on any device.
        target
            ``(n, L)``, 1 for a label that holds and 0 for one that does not.

        Raises
        ------
        ValueError
            If the shapes do not fit together, or a target is neither 0 nor 1.
        """
        if logits.ndim != 2 or logits.shape[1] != self._labels or target.shape != logits.shape:
            raise ValueError(
                f"logits {tuple(logits.shape)} and target {tuple(target.shape)}: expected (n, {self._labels}) twice"
            )
        target = target.detach().cpu().double()
        if not bool(((target == 0) | (target == 1)).all()):
            raise ValueError("a target is neither 0 nor 1")
        self._logits.append(logits.detach().cpu().double())
        self._targets.append(target)

    def outcomes(self, metric: str) -> list[float]:
        """Return, in the order in which they came, each example's F1: what ``example_f1`` is the mean of."""
        if metric != "example_f1":
            raise KeyError(metric)
        logits, target = self._all()
        return f1_of_each(logits > 0, target > 0).tolist()

    def value(self) -> Values:
        """Return the metrics over all examples given so far.

        Raises
        ------
        ValueError
            If there was none.
        """
        logits, target = self._all()
        n = len(target)
        if n == 0:
            raise ValueError("no example to score; call update() with at least one before value()")
        said, right = logits > 0, target > 0
        found = {
            "example_f1": (float(f1_of_each(said, right).mean()), n),
            "cross_entropy": (float(F.binary_cross_entropy_with_logits(logits, target)), n),
            **{metric: (value, n) for metric, value in f1_of_labels(said, right).items()},
        }
        shares = logits.sigmoid()
        present, mixed = right.any(dim=0), right.any(dim=0) & (~right).any(dim=0)
        if bool(present.any()):
            found["average_precision"] = (_mean_area("binary_average_precision", shares, right, present), n)
        if "auroc" in self._beside and bool(mixed.any()):
            found["auroc"] = (_mean_area("binary_auroc", shares, right, mixed), n)
        if "balanced_accuracy" in self._beside and bool(mixed.any()):
            found["balanced_accuracy"] = (float(_balanced(said[:, mixed], right[:, mixed]).mean()), n)
        return found

    def _all(self) -> tuple[Tensor, Tensor]:
        """Return ``(n, L)`` the logits and targets of all examples so far."""
        nothing = torch.zeros(0, self._labels, dtype=torch.float64)
        return torch.cat([nothing, *self._logits]), torch.cat([nothing, *self._targets])


def f1_of_each(said: Tensor, right: Tensor) -> Tensor:
    """Return each example's F1 ``(n,)`` float64 of the labels that are answered and the right ones, ``(n, L)`` bool both.

    >>> f1_of_each(torch.tensor([[True, True], [False, False]]), torch.tensor([[True, False], [False, False]])).tolist()
    [0.6666666666666666, 1.0]
    """
    hits, both = (said & right).sum(dim=1).double(), (said.sum(dim=1) + right.sum(dim=1)).double()
    return torch.where(both > 0, 2 * hits / both.clamp(min=1), 1.0)


def f1_of_labels(said: Tensor, right: Tensor) -> dict[str, float]:
    """Return ``micro_f1`` and ``macro_f1`` of the labels answered and the right ones, ``(n, L)`` bool, as far as there are any.

    >>> f1_of_labels(torch.tensor([[True, True]]), torch.tensor([[True, False]]))
    {'micro_f1': 0.6666666666666666, 'macro_f1': 1.0}
    """
    hits, present = (said & right).sum(dim=0).double(), right.sum(dim=0)
    both = said.sum(dim=0) + present
    found: dict[str, float] = {}
    if int(both.sum()):
        found["micro_f1"] = float(2 * hits.sum() / both.sum())
    if int(present.sum()):
        there = present > 0
        found["macro_f1"] = float((2 * hits[there] / both[there]).mean())
    return found


def _balanced(said: Tensor, right: Tensor) -> Tensor:
    """Return for each label the mean of the shares answered right of those that have it and of those that have not, ``(L,)``."""
    has = (said & right).sum(dim=0).double() / right.sum(dim=0)
    has_not = (~said & ~right).sum(dim=0).double() / (~right).sum(dim=0)
    return (has + has_not) / 2


def _mean_area(kind: str, shares: Tensor, right: Tensor, labels: Tensor) -> float:
    """Return the mean of an area under a curve over some labels ``(L,)`` bool; no number, where a model has diverged."""
    from torchmetrics.functional import classification  # torchmetrics takes long to load

    if not bool(shares.isfinite().all()):
        return float("nan")
    area = getattr(classification, kind)
    areas = [area(shares[:, each], right[:, each].long()) for each in labels.nonzero().flatten().tolist()]
    return float(torch.stack(areas).double().mean())
