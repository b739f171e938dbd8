"""What a model has to beat: the majority, the mean picture, word frequencies, and logistic regression on frozen features.

Pure, deterministic functions on arrays. Whatever they have to choose they choose on validation examples, as a model would; a
baseline with a badly chosen constant flatters what it is compared with. None of them sees a test label before it scores.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedtap.tasks.metrics import normalise_answer

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

UNIGRAM_WEIGHTS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
"""Weights of the counts in the mixture; 1 is not among them, since it gives a token never seen no chance at all."""

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


def majority(train_labels: Integers, test_labels: Integers) -> float:
    """Return the test accuracy of always answering the most frequent training label (the smallest of several).

    >>> majority(np.array([0, 1, 1]), np.array([1, 1, 0, 1]))
    0.75
    """
    _require(train_labels=train_labels, test_labels=test_labels)
    labels, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(test_labels == labels[np.argmax(counts)]))


def mean_picture(train: Floats, test: Floats) -> float:
    """Return the mean squared error on ``test`` of always answering the mean of ``train``, both ``(n, 3, H, W)``."""
    _require(train=train, test=test)
    picture = train.mean(axis=0, dtype=np.float64)
    # one picture at a time: the differences of a whole test set in float64 need not fit in memory
    return float(np.mean([np.mean((example - picture) ** 2) for example in test]))


def unigram(
    train: Sequence[Sequence[int]],
    validation: Sequence[Sequence[int]],
    test: Sequence[Sequence[int]],
    vocabulary: int,
) -> float:
    r"""Return the test cross-entropy, in nats per token, of token frequencies that ignore the input.

    :math:`p(t) = w \, c_t / \sum_u c_u + (1 - w) / V`, with counts c from ``train`` and w of :data:`UNIGRAM_WEIGHTS` the one
    that is best on ``validation``.

    Parameters
    ----------
    train, validation, test
        Token ids of each reference, with the end token and without padding: just those that a model is scored on.
    vocabulary
        The number V of token ids.

    Raises
    ------
    ValueError
        If one of them holds no token, or an id outside the vocabulary.
    """
    counts = _token_counts("train", train, vocabulary)
    observed, wanted = (
        _token_counts(name, tokens, vocabulary) for name, tokens in (("validation", validation), ("test", test))
    )
    frequencies = counts / counts.sum()

    def nats(weight: float, of: Integers) -> float:
        seen = of > 0
        logs = np.log(weight * frequencies[seen] + (1 - weight) / vocabulary)
        return float(-(of[seen] * logs).sum() / of.sum())

    best = min(UNIGRAM_WEIGHTS, key=lambda weight: nats(weight, observed))
    return nats(best, wanted)


def majority_text(train_texts: Sequence[str], test_texts: Sequence[str]) -> float:
    """Return the exact match, after normalisation, of always giving the most frequent training answer (the first of several).

    >>> majority_text(["Yes", "yes.", "no"], ["yes", "no"])
    0.5
    """
    _require(train_texts=train_texts, test_texts=test_texts)
    counts = Counter(normalise_answer(text) for text in train_texts)
    answer = max(counts, key=counts.__getitem__)
    return float(np.mean([normalise_answer(text) == answer for text in test_texts]))


def question_only(
    train_features: Floats,
    train_answers: Sequence[str],
    validation_features: Floats,
    validation_answers: Sequence[str],
    test_features: Floats,
    test_answers: Sequence[str],
) -> float:
    """Return the exact match of logistic regression from the question alone to the answers seen in training.

    Parameters
    ----------
    train_features, validation_features, test_features
        ``(n, d)``, the pooled features of each question.
    train_answers, validation_answers, test_answers
        n answers, compared after normalisation. A test answer that was never seen in training counts as missed.
    """
    known = sorted({normalise_answer(answer) for answer in train_answers})
    index = {answer: number for number, answer in enumerate(known)}
    targets = [
        np.array([index.get(normalise_answer(answer), -1) for answer in answers], dtype=np.int64)
        for answers in (train_answers, validation_answers, test_answers)
    ]
    _require(test_answers=test_answers)
    usable = targets[1] >= 0
    probe = fit_probe(train_features, targets[0], validation_features[usable], targets[1][usable], len(known))
    return float(np.mean(probe.logits(test_features).argmax(axis=1) == targets[2]))


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
    _require(train_x=train_x, train_y=train_y)
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


def _token_counts(name: str, sequences: Sequence[Sequence[int]], vocabulary: int) -> NDArray[np.int64]:
    tokens = np.fromiter((token for sequence in sequences for token in sequence), dtype=np.int64)
    if len(tokens) == 0 or tokens.min() < 0 or tokens.max() >= vocabulary:
        given = f"ids from {tokens.min()} to {tokens.max()}" if len(tokens) else "no token"
        raise ValueError(f"{name}: {given}; expected at least one token, with ids from 0 to {vocabulary - 1}")
    return np.bincount(tokens, minlength=vocabulary)


def _require(**examples: Sequence[Any] | NDArray[Any]) -> None:
    """Raise ValueError for the first argument without examples."""
    for name, given in examples.items():
        if len(given) == 0:
            raise ValueError(f"{name}: no example; a baseline needs at least one")
