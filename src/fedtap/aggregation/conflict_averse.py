r"""The conflict-averse mean of updates (CAGrad). Liu, Liu, Jin, Stone, Liu 2021, arXiv 2110.14048.

Of all directions in a ball around the mean update the one that serves the worst-off client best:

.. math:: \max_U \min_i \langle \Delta_i, U \rangle \quad \text{subject to} \quad \|U - \bar\Delta\| \le c \|\bar\Delta\|

by its dual over the simplex, with :math:`\Delta_\omega = \sum_i \omega_i \Delta_i` and :math:`\phi = c^2 \|\bar\Delta\|^2`:

.. math::
    \omega^* = \arg\min_\omega \langle \Delta_\omega, \bar\Delta \rangle + \sqrt\phi \|\Delta_\omega\|, \quad
    U = \bar\Delta + \sqrt\phi \, \Delta_{\omega^*} / \|\Delta_{\omega^*}\|

Both are functions of the inner products alone, so that the solver's work does not grow with the model. Not here: whose updates
these are, and what is done with the result (``fedhca2.py``).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_NOTHING = 1e-12  # a norm this small, where updates are of length one, is none


def conflict_averse_weights(gram: Floats, c: float) -> Floats:
    """Return how much of each update the conflict-averse mean holds, ``(n,)``.

    Parameters
    ----------
    gram
        Inner products of the n updates, ``(n, n)``.
    c
        Radius of the ball in lengths of the mean update, from 0 (the mean itself) to below 1.

    Returns
    -------
    ndarray
        Weights w with ``U = sum_i w_i delta_i``. They sum to more than one: the ball reaches further than the mean.

    Examples
    --------
    Two updates at a right angle, the second three times as long: the mean serves the first too little.

    >>> conflict_averse_weights(np.diag([1.0, 9.0]), 0.4).round(3)
    array([1.132, 0.5  ])
    """
    from scipy.optimize import minimize  # takes a second, and few methods need it

    n = len(gram)
    mean = np.full(n, 1 / n)
    scale = float(np.trace(gram)) / n
    if scale <= 0:
        return mean
    unit = np.asarray(gram, dtype=np.float64) / scale  # the solver's tolerances are absolute
    with_mean = unit @ mean
    radius = c * math.sqrt(max(float(mean @ with_mean), 0.0))

    def length(weights: Floats) -> float:
        return math.sqrt(max(float(weights @ unit @ weights), 0.0))

    def dual(weights: Floats) -> float:
        return float(weights @ with_mean) + radius * length(weights)

    def slope(weights: Floats) -> Floats:
        slopes: Floats = with_mean + radius * (unit @ weights) / max(length(weights), _NOTHING)
        return slopes

    found = minimize(
        dual,
        mean,
        jac=slope,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(n)},
        options={"ftol": 1e-12, "maxiter": 300},
    )
    solved = np.clip(found.x, 0.0, 1.0)
    best = solved / solved.sum()
    reach = length(best)
    if reach <= _NOTHING:  # some mixture of the updates is nothing: no direction serves all its members
        return mean
    weights: Floats = mean + radius / reach * best
    return weights
