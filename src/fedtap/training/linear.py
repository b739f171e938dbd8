"""Logistic regression to the optimum, on given features: the probe of frozen features. Pure functions of arrays."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths C of the logistic regression, from the most to the least regularised."""

ABSENT_BIAS = -10.0
"""The logit of a class without training examples. The logits of the others sum to zero, so that the greatest of them is at
least 0: the absent class is never predicted, its probability is below 5e-5, and training can still raise it."""


class Probe(NamedTuple):
    """Logistic regression on standardised features: ``logits = ((x - mean) / scale) @ weight.T + bias``; float32."""

    weight: NDArray[np.float32]
    """``(C, d)``."""
    bias: NDArray[np.float32]
    """``(C,)``."""
    mean: NDArray[np.float32]
    """``(d,)``."""
    scale: NDArray[np.float32]
    """``(d,)``, 1 for a feature that does not vary."""

    def logits(self, x: Floats) -> NDArray[np.float32]:
        """Return the logits ``(n, C)`` of features ``(n, d)``."""
        result: NDArray[np.float32] = ((x - self.mean) / self.scale).astype(np.float32) @ self.weight.T + self.bias
        return result

    def folded(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight ``(C, d)`` and bias ``(C,)`` that give the same logits on features as they come, as one linear layer."""
        weight = self.weight.astype(np.float64) / self.scale
        bias = self.bias - weight @ self.mean.astype(np.float64)
        return weight.astype(np.float32), bias.astype(np.float32)


def fit_probe(train_x: Floats, train_y: Integers, validation_x: Floats, validation_y: Integers, classes: int) -> Probe:
    """Fit logistic regression on standardised features, its strength chosen by the cross-entropy on validation examples.

    Deterministic without a seed: the problem is convex and the solver (L-BFGS from zero) draws nothing. Validation examples of
    classes without training examples are left out of the choice, since no strength could get them right; where none is left,
    the middle strength is taken.

    Parameters
    ----------
    train_x, validation_x
        ``(n, d)`` features.
    train_y, validation_y
        ``(n,)`` class indices below ``classes``; not every class needs to be there, one is enough.
    classes
        The number of classes C.

    Returns
    -------
    Probe
        ``(weight, bias, mean, scale)``. The rows of absent classes are zero with a bias of :data:`ABSENT_BIAS`.

    Raises
    ------
    ValueError
        If there is no training example, or a label is no class.
    """
    if len(train_x) == 0 or len(train_y) == 0:
        raise ValueError("no training example; a probe needs at least one")
    if train_y.min() < 0 or train_y.max() >= classes:
        raise ValueError(f"labels run from {train_y.min()} to {train_y.max()}; expected 0 to {classes - 1}")
    train_x = train_x.astype(np.float64)
    mean, deviation = train_x.mean(axis=0), train_x.std(axis=0)
    # rounding leaves a constant feature a deviation of about 1e-16 of its size; dividing by that would make noise of it
    scale = np.where(deviation > 1e-6 * (np.abs(mean) + 1e-6), deviation, 1.0)
    present, compact = np.unique(train_y, return_inverse=True)
    weight = np.zeros((classes, train_x.shape[1]))
    bias = np.full(classes, ABSENT_BIAS)
    if len(present) == 1:
        bias[present] = 0.0
    else:
        usable = np.isin(validation_y, present)
        held_x = (validation_x[usable] - mean) / scale
        held_y = np.searchsorted(present, validation_y[usable])
        weight[present], bias[present] = _regression((train_x - mean) / scale, compact, held_x, held_y)
    return Probe(*(array.astype(np.float32) for array in (weight, bias, mean, scale)))


def _regression(x: Floats, y: Integers, held_x: Floats, held_y: Integers) -> tuple[Floats, Floats]:
    """Return weight ``(K, d)`` and bias ``(K,)`` of the best of the fits; every one of the K >= 2 classes occurs in ``y``."""
    if len(held_y) == 0:
        return _fit(x, y, INVERSE_PENALTIES[len(INVERSE_PENALTIES) // 2])
    fits = [_fit(x, y, strength) for strength in INVERSE_PENALTIES]
    return min(fits, key=lambda fit: _cross_entropy(held_x @ fit[0].T + fit[1], held_y))


def _fit(x: Floats, y: Integers, strength: float) -> tuple[Floats, Floats]:
    # imported here because it takes a second, and only these baselines need it
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # a fit stopped at max_iter is one more candidate, and validation judges it like the others
        warnings.simplefilter("ignore", ConvergenceWarning)
        # few examples of many classes are what a small client has, and no sign of a regression problem
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        model = LogisticRegression(C=strength, max_iter=500).fit(x, y)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes come as the one row of the second; as a softmax it is half of it on either side
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias - bias.mean()


def _cross_entropy(logits: Floats, labels: Integers) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]))
