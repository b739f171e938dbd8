r"""What Gaussian noise on clipped sums is worth: :math:`(\varepsilon, \delta)` by Opacus' RDP accountant (extra ``privacy``).

Mironov 2017, arXiv 1702.07476; with sampling: Mironov, Talwar, Zhang 2019, arXiv 1908.10530. Not here: the noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install

ORDERS = [1 + x / 10 for x in range(1, 100)] + list(range(12, 64)) + [80, 128, 256, 512, 1024]
"""Orders of the Rényi divergence that are tried: Opacus' own, and larger ones for much noise."""


def require_opacus() -> None:
    """Refuse to go on without Opacus.

    Raises
    ------
    UserError
        If it is not installed.
    """
    if find_spec("opacus") is None:
        raise UserError(f"privacy: the package opacus is not installed; run: {install('privacy')}")


def epsilon(steps: Iterable[tuple[float, float, int]], delta: float) -> float:
    r"""Return :math:`\varepsilon` after groups of steps.

    Parameters
    ----------
    steps
        Of each group the noise multiplier (noise over sensitivity), the probability with which an example, or a client, takes
        part in a step (1: no sampling), and the number of steps.
    delta
        The :math:`\delta` at which it holds.

    Examples
    --------
    >>> round(epsilon([(1.0, 1.0, 1)], 1e-5), 2), round(epsilon([(1.0, 0.1, 1)], 1e-5), 2)
    (4.73, 2.13)
    """
    from opacus.accountants.analysis.rdp import get_privacy_spent

    spent = [number * _one_step(noise, rate) for noise, rate, number in steps if number > 0]
    if not spent:
        return 0.0
    with warnings.catch_warnings():
        # At the end of the list of orders the bound may not be the tightest; it is a bound all the same.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        return float(get_privacy_spent(orders=ORDERS, rdp=sum(spent), delta=delta)[0])


@lru_cache(maxsize=1024)
def _one_step(noise: float, rate: float) -> Any:
    """Return the Rényi divergences of a step, an array over ``ORDERS``; kept, as an account asks for the same each round."""
    from opacus.accountants.analysis.rdp import compute_rdp

    return compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=ORDERS)
