"""Whether two models differ by more than chance on the same examples, and by how much in percent. Pure; no torch.

Not here: means over clients and seeds, and their intervals (study).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 5
"""With fewer examples, or with fewer on which two models differ at all, nothing is said of chance."""


def relative_gain(value: float, base: float, higher_is_better: bool) -> float | None:
    r"""Return :math:`100 \, s (value - base) / |base|` in percent, with s = 1 or -1: positive is better, whatever the metric.

    A base of 0 gives None: the gain over nothing is undefined and not infinite. That holds even where the value is 0 too; to
    count such a draw as 0 while leaving out every win over 0 would pull the mean down.

    Raises
    ------
    ValueError
        If either is infinite or not a number.

    Examples
    --------
    >>> relative_gain(0.75, 0.5, higher_is_better=True), relative_gain(0.75, 0.5, higher_is_better=False)
    (50.0, -50.0)
    """
    if not (math.isfinite(value) and math.isfinite(base)):
        raise ValueError(f"value {value} against base {base}: both must be finite")
    if base == 0:
        return None
    difference = value - base if higher_is_better else base - value
    return 100 * difference / abs(base)


def paired_p(one: Sequence[float], other: Sequence[float]) -> float | None:
    r"""Return the two-sided p-value of "these two models are equally good", from their outcomes on the same examples.

    Where every outcome is 0 or 1 it is McNemar's exact test: of the d examples that one has right and the other wrong, k fall
    one way, and p is that of a fair coin. Otherwise it is the t-test of the differences,
    :math:`t = \bar d \sqrt n / s_d`.

    Returns
    -------
    float or None
        None for fewer than :data:`FEWEST` examples.

    Raises
    ------
    ValueError
        If the two have different lengths.

    Examples
    --------
    >>> paired_p([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0])
    0.03125
    >>> paired_p([1, 0, 1, 0, 1, 1], [0, 1, 1, 0, 1, 1])
    1.0
    """
    differences = [a - b for a, b in zip(one, other, strict=True)]
    size = len(differences)
    if size < FEWEST:
        return None
    if all(value in (0, 1) for value in (*one, *other)):
        ahead, behind = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        return coin_p(ahead, behind)
    mean = math.fsum(differences) / size
    variance = math.fsum((d - mean) ** 2 for d in differences) / (size - 1)
    if variance <= 1e-24 * mean**2 or variance == 0:  # all differ alike
        return 1.0 if mean == 0 else 0.0
    from scipy.special import stdtr  # quicker to import than all of scipy.stats

    return float(2 * stdtr(size - 1, -abs(mean) / math.sqrt(variance / size)))


def coin_p(heads: int, tails: int) -> float:
    """Return the two-sided p-value of so many heads and tails of a fair coin; 1 without any.

    >>> coin_p(0, 6), coin_p(3, 3), coin_p(0, 0)
    (0.03125, 1.0, 1.0)
    """
    tosses, fewer = heads + tails, min(heads, tails)
    below = sum(math.comb(tosses, k) for k in range(fewer + 1))
    return min(1.0, float(2 * below / 2**tosses))


def shares_p(one: float, other: float, n: int) -> float | None:
    """Return the two-sided p-value of two shares of n examples each, as if the examples were not the same.

    It needs no outcomes of single examples, and says "chance" more often than :func:`paired_p` does.

    >>> round(shares_p(0.9, 0.7, 100), 5)
    0.00041
    """
    if n < FEWEST:
        return None
    share = (one + other) / 2
    spread = math.sqrt(max(0.0, share * (1 - share)) * 2 / n)
    if spread == 0:
        return 1.0
    return math.erfc(abs(one - other) / spread / math.sqrt(2))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    r"""Return p-values adjusted for being one of several (Holm 1979, Scandinavian Journal of Statistics 6).

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1) \, p_{(j)})

    for the m sorted p-values. Calling significant what is below 5 % then errs anywhere in the family with at most 5 %, whatever
    the dependence between the tests. None stays None and does not count.

    Examples
    --------
    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return adjusted
