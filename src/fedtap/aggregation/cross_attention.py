r"""Cross attention between clients' updates of one layer. Lu et al. 2024, arXiv 2311.13250; no weights of its own.

.. math:: U_i = \sum_j \mathrm{softmax}_j \left( \frac{\langle \Delta_i, \Delta_j \rangle}{\sqrt d} \right) \Delta_j

Queries, keys and values are the updates themselves. Not here: which layers may attend to each other (``fedhca2.py``).
"""

from __future__ import annotations

from torch import Tensor


def cross_attention(updates: Tensor) -> Tensor:
    """Return what each update makes of all, itself included.

    Parameters
    ----------
    updates
        ``(n, d)``: n updates of a layer with d scalars.

    Returns
    -------
    Tensor
        ``(n, d)``, computed in float64, in the dtype given.
    """
    wide = updates.double()
    scores = wide @ wide.T / wide.shape[1] ** 0.5
    seen: Tensor = scores.softmax(dim=1) @ wide
    return seen.to(updates.dtype)
