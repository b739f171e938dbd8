"""What a model has to beat: the majority, the mean picture, word frequencies, and logistic regression on frozen features.

Pure, deterministic functions on arrays. Whatever they have to choose they choose on validation examples, as a model would; a
baseline with a badly chosen constant flatters what it is compared with. None of them sees a test label before it scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedtap.metrics.multilabel import f1_of_each
from fedtap.metrics.text import Reference, each_of, is_right, normalise_answer
from fedtap.training.linear import Floats, Integers, fit_probe

Booleans = NDArray[np.bool_]
UNIGRAM_WEIGHTS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
"""Weights of the counts in the mixture; 1 is not among them, since it gives a token never seen no chance at all."""


def majority(train_labels: Integers, test_labels: Integers) -> float:
    """Return the test accuracy of always answering the most frequent training label (the smallest of several).

    >>> majority(np.array([0, 1, 1]), np.array([1, 1, 0, 1]))
    0.75
    """
    _require(train_labels=train_labels, test_labels=test_labels)
    labels, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(test_labels == labels[np.argmax(counts)]))


def common_labels(train: Booleans, validation: Booleans) -> Booleans:
    """Return the labels ``(L,)`` of the best answer that is the same for all examples: so many of the most frequent ones.

    How many is what gives the best F1 per example on ``validation``; the fewest of several. Both are ``(n, L)``.

    >>> common_labels(np.array([[True, False], [True, True]]), np.array([[True, False]])).tolist()
    [True, False]
    """
    _require(train=train, validation=validation)
    order = np.argsort(-train.sum(axis=0), kind="stable")
    answers = np.zeros((len(order) + 1, len(order)), dtype=bool)
    for number in range(1, len(answers)):
        answers[number, order[:number]] = True
    scores = [
        float(f1_of_each(torch.from_numpy(answer).expand(len(validation), -1), torch.from_numpy(validation)).mean())
        for answer in answers
    ]
    best: Booleans = answers[int(np.argmax(scores))]
    return best


def base_rates(train: Booleans, test: Booleans) -> float:
    """Return the test cross-entropy, in nats per label, of the shares of ``train`` that have each label, ``(n, L)`` both.

    A share is (those that have it + 1) / (n + 2): one of 0 would leave no chance to a label that was never seen.

    >>> round(base_rates(np.array([[True], [False]]), np.array([[True]])), 4)
    0.6931
    """
    _require(train=train, test=test)
    shares = (train.sum(axis=0) + 1) / (len(train) + 2)
    return float(-np.where(test, np.log(shares), np.log1p(-shares)).mean())


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


def majority_text(train_texts: Sequence[Reference], test_texts: Sequence[Reference]) -> float:
    """Return the exact match, after normalisation, of always giving the most frequent training answer (the first of several).

    An example may have several right answers; any of them is a match.

    >>> majority_text(["Yes", "yes.", "no"], ["yes", "no"])
    0.5
    """
    _require(test_texts=test_texts)
    answer = most_frequent_text(train_texts)
    return float(np.mean([is_right(answer, text) for text in test_texts]))


def most_frequent_text(train_texts: Sequence[Reference]) -> str:
    """Return the answer that is right for the most training examples after normalisation (the first of several), as first given.

    >>> most_frequent_text(["no", "Yes!", "yes"]), most_frequent_text(["no", ["yes", "yeah"], "yeah", "no", "yeah"])
    ('Yes!', 'yeah')
    """
    _require(train_texts=train_texts)
    given: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for texts in map(each_of, train_texts):
        said = dict.fromkeys(map(normalise_answer, texts))  # an example counts once, however often it says the same
        counts.update(said.keys())
        for text in texts:
            given.setdefault(normalise_answer(text), text)
    return given[max(counts, key=counts.__getitem__)]


def question_only(
    train_features: Floats,
    train_answers: Sequence[Reference],
    validation_features: Floats,
    validation_answers: Sequence[Reference],
    test_features: Floats,
    test_answers: Sequence[Reference],
) -> float:
    """Return the exact match of logistic regression from the question alone to the answers seen in training.

    Parameters
    ----------
    train_features, validation_features, test_features
        ``(n, d)``, the pooled features of each question.
    train_answers, validation_answers, test_answers
        n answers, compared after normalisation. A test answer that was never seen in training counts as missed. Of several right
        answers of an example the first is trained on, and any is a match.
    """
    known = sorted({normalise_answer(each_of(answer)[0]) for answer in train_answers})
    index = {answer: number for number, answer in enumerate(known)}
    targets = [
        np.array([index.get(normalise_answer(each_of(answer)[0]), -1) for answer in answers], dtype=np.int64)
        for answers in (train_answers, validation_answers)
    ]
    _require(test_answers=test_answers)
    usable = targets[1] >= 0
    probe = fit_probe(train_features, targets[0], validation_features[usable], targets[1][usable], len(known))
    chosen = probe.logits(test_features).argmax(axis=1)
    return float(
        np.mean(
            [
                known[best] in map(normalise_answer, each_of(answer))
                for best, answer in zip(chosen, test_answers, strict=True)
            ]
        )
    )


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
