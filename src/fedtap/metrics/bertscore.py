"""BERTScore of generated text: contextual token embeddings of prediction and reference, matched greedily by their cosine.

Zhang et al., "BERTScore: Evaluating Text Generation with BERT", ICLR 2020. The few lines are written out here and not taken from
torchmetrics, whose function (1.9) compares the wrong texts with each other where their lengths differ (its issue 2728), lets
a token match the zero that stands in the place of special tokens, and embeds all texts at once, padded to the longest. Pair by
pair the two agree, which the tests hold them to. Not here: the encoders (:mod:`fedtap.evaluation.encoders`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedtap.metrics.text import Reference, each_of

NAME = "bertscore_f1"
_AT_ONCE = 256
"""How many pairs of texts are embedded at once: embeddings of all would not fit in memory everywhere."""

Embeddings = NDArray[np.floating[Any]]


class TokenEncoder(Protocol):
    """Texts to the contextual embeddings of their tokens."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    def __call__(self, texts: Sequence[str]) -> list[Embeddings]:
        """Return, for each text, ``(tokens, dim)`` without special tokens; an embedding depends on its own text alone."""


class BertScore:
    """The mean F1 of BERTScore over examples: no idf weights, no rescaling by a baseline; its name says the encoder.

    It says how near texts are and not whether one is right: "no" is near "yes". Without rescaling unrelated texts may score far
    above 0. So compare with the trivial baseline beside it, and never across encoders.

    Parameters
    ----------
    encoder
        What gives the embeddings.
    """

    def __init__(self, encoder: TokenEncoder) -> None:
        self.name = f"{NAME}[{encoder.name}]"
        self._encoder = encoder

    def __call__(self, predictions: Sequence[str], references: Sequence[Reference]) -> float:
        """Return the mean over examples; of several references the best counts."""
        pairs = list(zip(predictions, references, strict=True))
        scores: list[float] = []
        for start in range(0, len(pairs), _AT_ONCE):
            some = pairs[start : start + _AT_ONCE]
            # answers repeat; each is embedded once
            texts = sorted({text for prediction, reference in some for text in (prediction, *each_of(reference))})
            embedded = dict(zip(texts, self._encoder(texts), strict=True))
            scores += [
                max(f1(embedded[prediction], embedded[each]) for each in each_of(reference))
                for prediction, reference in some
            ]
        return math.fsum(scores) / len(scores)


def f1(prediction: Embeddings, reference: Embeddings) -> float:
    r"""Return the harmonic mean of a precision and a recall.

    They are :math:`P = \operatorname{mean}_i \max_j \cos_{ij}` and :math:`R = \operatorname{mean}_j \max_i \cos_{ij}`.
    It is 0 where a text has no token, and where P or R is not positive: a harmonic mean is of positive numbers.

    Parameters
    ----------
    prediction, reference
        ``(tokens, dim)``; i runs over the first's tokens, j over the second's.

    Examples
    --------
    >>> f1(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0]]))
    0.6666666666666666
    """
    if not len(prediction) or not len(reference):
        return 0.0
    cosines = _directions(prediction) @ _directions(reference).T
    precision, recall = float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())
    if min(precision, recall) <= 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _directions(vectors: Embeddings) -> NDArray[np.float64]:
    """Return unit vectors; one of length zero stays as it is."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    units: NDArray[np.float64] = exact / np.where(lengths > 0, lengths, 1.0)
    return units
