r"""What a gate on validation can promise: harm, missed gain, and the price of asking one split often. Closed forms; no tensors.

The gain of adopting W in the place of X is :math:`\mu`, the mean of :math:`d = \ell(X; z) - \ell(W; z)` over the task's examples,
seen on n of them; s is the standard deviation of d. A gate at level :math:`\alpha` opens where
:math:`\sqrt n \, \bar d / s > z_\alpha`. Then (docs/theory.md, "What a gate can promise")

.. math::

    \sup_{\mu \le 0} |\mu| P(\text{open}) = C(\alpha) \frac s{\sqrt n}, \quad
    \sup_{\mu > 0} \mu P(\text{closed}) = C(1 - \alpha) \frac s{\sqrt n}, \quad
    C(\alpha) = \max_{y \ge 0} y \, \Phi(-z_\alpha - y)
"""

from __future__ import annotations

from math import log, sqrt
from statistics import NormalDist

_NORMAL = NormalDist()
FURTHEST = 12.0
"""Beyond it the product y Phi(-z - y) is nothing for any level that a float can tell from 1."""


def worst_harm(alpha: float) -> float:
    r"""Return C(alpha): the most that a gate at this level loses on average by opening wrongly, in units of s / sqrt(n).

    ``alpha`` 0.5 is a margin of 0. What it misses by staying shut is ``worst_harm(1 - alpha)``.

    >>> [round(worst_harm(alpha), 3) for alpha in (0.5, 0.1, 0.9)]
    [0.17, 0.019, 0.641]

    Raises
    ------
    ValueError
        Unless 0 < alpha < 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"a level lies between 0 and 1, and {alpha} does not")
    z = _NORMAL.inv_cdf(1 - alpha)

    def harm(y: float) -> float:
        return y * _NORMAL.cdf(-z - y)

    low, high = 0.0, FURTHEST
    while high - low > 1e-9:  # y Phi(-z - y) rises, then falls: its logarithm is concave
        one, other = low + (high - low) / 3, high - (high - low) / 3
        low, high = (one, high) if harm(one) < harm(other) else (low, other)
    return harm(low)


def sure_gain(examples: int, verdicts: int, alpha: float) -> float:
    r"""Return the gain on a split from which on ALL verdicts are right with probability 1 - alpha, as a share of the range of d.

    :math:`\sqrt{(R \ln 2 + \ln \frac1\alpha) / (2 n)}`: what is compared after R verdicts is one of at most :math:`2^R` pairs of
    models, since it follows from those verdicts; Hoeffding's inequality, and a union bound. Whatever the distribution of d.

    >>> round(sure_gain(48, 15, 0.1), 2), round(sure_gain(4800, 15, 0.1), 3)
    (0.36, 0.036)

    Raises
    ------
    ValueError
        If there is no example or no verdict, or alpha is no level.
    """
    if examples < 1 or verdicts < 1 or not 0 < alpha < 1:
        raise ValueError(f"{verdicts} verdicts on {examples} examples at level {alpha}: each must be positive")
    return sqrt((verdicts * log(2) + log(1 / alpha)) / (2 * examples))
