r"""ROUGE-L of texts: the F of their longest common subsequence of words. Lin 2004, "ROUGE", ACL workshop, W04-1013.

.. math:: P = \frac{LCS}{|prediction|}, \quad R = \frac{LCS}{|reference|}, \quad F = \frac{2 P R}{P + R}

The arithmetic is that of torchmetrics, to the bit, and agrees with rouge-score (the tests hold all three against each other); the
first loads half a dozen libraries to offer it, the second had its last release in 2022. Not here: what a word is (``text.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def rouge_l(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """Return the mean F of texts that are given as words; where either text has no words it is 0.

    >>> rouge_l([["the", "cat", "sat"]], [["the", "old", "cat"]])
    0.6666666865348816
    """
    found = [_f(prediction, reference) for prediction, reference in zip(predictions, references, strict=True)]
    return float(torch.tensor(found).mean())


def _f(prediction: Sequence[str], reference: Sequence[str]) -> float:
    common = _common(prediction, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(reference)
    return 2 * precision * recall / (precision + recall)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, row by row of the usual table."""
    row = [0] * (len(first) + 1)
    for word in second:
        before = 0  # what stands above and to the left
        for place, other in enumerate(first, start=1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
