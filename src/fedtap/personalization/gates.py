r"""When the personal model adopts the federated parts of a task: the paper's margin, and a paired test.

Pure functions of losses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def margin_gate(federated: float, personal: float, margin: float) -> bool:
    r"""Tell whether :math:`h^f + m < h^p` (algorithm.md, section 2).

    >>> margin_gate(0.50, 0.52, 0.01), margin_gate(0.50, 0.51, 0.01), margin_gate(0.5, float("inf"), 0.01)
    (True, False, True)
    """
    return federated + margin < personal


def paired_gate(federated: Tensor, personal: Tensor, alpha: float) -> tuple[bool, float]:
    r"""Tell whether the federated model is better with confidence: a one-sided paired t-test at level ``alpha``.

    Parameters
    ----------
    federated, personal
        ``(n,)`` losses of the two models on the same examples.
    alpha
        The level.

    Returns
    -------
    tuple
        The verdict and the p-value. With fewer than two examples nothing is confident (p = 1). Where all differences are
        equal the verdict is their sign.
    """
    from scipy.special import stdtr  # takes half a second; `scipy.stats`, which asks it too, two

    difference = (personal - federated).to(torch.float64)
    n = difference.numel()
    if n < 2:
        return False, 1.0
    spread = float(difference.std(unbiased=True))
    mean = float(difference.mean())
    if spread == 0.0:
        return mean > 0, 0.0 if mean > 0 else 1.0
    p = float(stdtr(n - 1, -mean / (spread / math.sqrt(n))))
    return p < alpha, p
