"""How many examples of each stratum each client gets: the mathematics of quantity and label skew. Numbers only, no examples.

Counts are integers throughout, rows are clients (n) and columns strata (k).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST_SHARE = 0.9  # of one stratum in a client's data, before rounding: skewed, but never a single class
_TINY = 1e-6
_SWEEPS = 200


def share_out(demands: Ints, available: int) -> Ints:
    """Return what each demand gets: all of it where there is enough, else a proportional share.

    Rounding goes by largest remainder, and nobody gets nothing while another has more than one.

    >>> share_out(np.array([60, 30, 10]), 50).tolist()
    [30, 15, 5]
    """
    total = int(demands.sum())
    if total <= available:
        return np.array(demands, dtype=np.int64)
    return _whole(demands.astype(np.float64) * (available / total), available)


def level_out(demands: Floats, weights: Floats, available: int) -> Ints:
    """Return what each demand gets where some are infinite, so that all there is goes out: max-min fair, by weights.

    Nobody gets more than its demand; those that want more than their part share what the others leave, by their weights.

    >>> level_out(np.array([10, np.inf, np.inf]), np.ones(3), 50).tolist()
    [10, 20, 20]
    """
    exact = np.zeros(len(demands))
    wanting, left = np.ones(len(demands), dtype=bool), float(available)
    while True:
        parts = left * weights / weights[wanting].sum()
        served = wanting & (demands <= parts)
        if not served.any():
            break
        exact[served] = demands[served]
        left -= float(demands[served].sum())
        wanting &= ~served
    exact[wanting] = parts[wanting]
    return _whole(exact, available)


def _whole(exact: Floats, available: int) -> Ints:
    """Return shares that sum to what is available as whole numbers, by largest remainder."""
    shares: Ints = np.floor(exact).astype(np.int64)
    left = available - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:left]] += 1
    while (shares == 0).any() and shares.max() > 1:
        shares[int(np.argmax(shares))] -= 1
        shares[int(np.argmin(shares))] += 1
    return shares


def proportions(natural: Floats, concentration: float, generator: np.random.Generator) -> Floats:
    r"""Draw a client's shares of the strata, :math:`q \sim \mathrm{Dirichlet}(\alpha K p)`, with none above 0.9.

    ``p`` is the natural distribution over its K strata, so that a large concentration means no skew, and equal strata give
    the usual symmetric Dirichlet (Hsu, Qi and Brown, 2019). What is above 0.9 goes to the other strata in proportion to ``p``.

    Parameters
    ----------
    natural
        ``(k,)`` shares of the strata in the source; zeros stay zero.
    concentration
        The concentration alpha.
    generator
        What the draw is made with.
    """
    present = np.flatnonzero(natural)
    shares = np.zeros_like(natural)
    if present.size == 1:
        shares[present] = 1.0
        return shares
    known = natural[present] / natural[present].sum()
    drawn = generator.dirichlet(concentration * present.size * known)
    top = int(np.argmax(drawn))
    if drawn[top] > LARGEST_SHARE:
        others = np.where(np.arange(present.size) == top, 0.0, known)
        drawn += (drawn[top] - LARGEST_SHARE) * others / others.sum()
        drawn[top] = LARGEST_SHARE
    shares[present] = drawn
    return shares


def fit(wanted: Floats, sizes: Ints, capacity: Ints) -> Ints:
    """Return integer counts near ``sizes[:, None] * wanted`` that the pool can serve.

    Rows sum to ``sizes`` exactly and columns to ``capacity`` at most. Where a stratum is short, all clients' shares of it
    shrink by one factor and their other strata grow (iterative proportional fitting), so that no client is served first.

    Parameters
    ----------
    wanted
        ``(n, k)`` shares; rows sum to 1.
    sizes
        ``(n,)`` examples per client; their sum is at most that of ``capacity``.
    capacity
        ``(k,)`` examples there are.
    """
    if int(sizes.sum()) > int(capacity.sum()):
        raise ValueError(f"{int(sizes.sum())} examples are wanted of {int(capacity.sum())}; share out the sizes first")
    # A trace of the natural distribution lets a client fall back on strata that it did not want.
    shares = np.where(capacity > 0, wanted + _TINY * capacity / max(1, int(capacity.sum())), 0.0)
    exact = shares
    for _ in range(_SWEEPS):
        exact = exact * (sizes / np.maximum(exact.sum(axis=1), np.finfo(float).tiny))[:, None]
        columns = exact.sum(axis=0)
        if (columns <= capacity).all():
            break
        exact = exact * np.minimum(1.0, capacity / np.maximum(columns, np.finfo(float).tiny))
    counts = np.floor(exact + 1e-9).astype(np.int64)
    counts = np.minimum(counts, capacity)
    _fill(counts, exact, sizes, capacity)
    return counts


def mix(counts: Ints, capacity: Ints) -> None:
    """Give, in place, every client with two examples or more at least two strata, where the pool or another client can.

    A spare example of the pool is taken first; else one is swapped with the client that has most of that stratum.
    """
    spare = capacity - counts.sum(axis=0)
    for row in counts:
        if row.sum() < 2 or np.count_nonzero(row) > 1:
            continue
        own = int(np.argmax(row))
        others = np.where(np.arange(row.size) == own, 0, spare)
        if others.any():
            stratum = int(np.argmax(others))
            spare[stratum] -= 1
            spare[own] += 1
        else:
            held = np.where(np.arange(row.size) == own, 0, counts)
            giver, stratum = divmod(int(np.argmax(held)), held.shape[1])
            if counts[giver, stratum] < 2:
                continue
            counts[giver, stratum] -= 1
            counts[giver, own] += 1
        row[own] -= 1
        row[stratum] += 1


def _fill(counts: Ints, exact: Floats, sizes: Ints, capacity: Ints) -> None:
    """Round up in place until rows sum to ``sizes``: each client's largest fractions first, within the capacity."""
    spare = capacity - counts.sum(axis=0)
    for row, target, size in zip(counts, exact, sizes, strict=True):
        for stratum in np.argsort(row - target, kind="stable"):
            take = min(1, int(size - row.sum()), int(spare[stratum]))
            row[stratum] += take
            spare[stratum] -= take
        for stratum in np.argsort(-target, kind="stable"):
            take = min(int(size - row.sum()), int(spare[stratum]))
            row[stratum] += take
            spare[stratum] -= take
