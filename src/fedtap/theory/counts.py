r"""The sampling quantities where holders count by weights, as the product counts them by examples. Exact; closed forms: sampling.

Of the holders A that a round draws, i gets the weight :math:`\lambda_i = v_i / \sum_{j \in A} v_j`. That is a ratio, so its mean
is not :math:`v_i / \sum_j v_j` unless all holders are always drawn. What the theorem needs instead (docs/theory.md, "Weights"):

.. math::

    u_i = E[\lambda_i \mid a > 0], \qquad \rho = E\Big[\sum_i \lambda_i^2 \,\Big|\, a > 0\Big], \qquad
    \varphi = \lambda_{\max}\big(U^{-1/2} \mathrm{Cov}(\lambda \mid a > 0)\, U^{-1/2}\big), \quad U = \mathrm{diag}(u)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import comb, prod
from types import MappingProxyType

import numpy as np

from fedtap.theory.unequal import heads, trained

MOST_CASES = 200_000
"""Cases that are gone through one by one; what would be more is drawn at random, with a fixed seed."""
DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class WeightedSampling:
    """The shares ``u`` of the holders, in the order in which their weights were given, and pi, rho and phi.

    ``exact`` is False where there were more cases than :data:`MOST_CASES`, and sets were drawn at random instead.
    """

    u: tuple[float, ...]
    pi: float
    rho: float
    phi: float
    exact: bool = True

    def floor(self, objective: Sequence[float]) -> float:
        r"""Return chi of the floor: how far the mean's shares are from those with which the objective weighs these holders.

        :math:`\chi^2 = \sum_i (\tilde p_i - u_i)^2 / \tilde p_i` with :math:`\tilde p` the objective's weights, scaled to sum to
        one. With 0 the server descends the objective; otherwise its gradient may stay as long as up to chi times the holders'
        distance from their mean gradient (root mean square).

        >>> weighted_sampling([1, 1], clients=2, drawn=2).floor([3, 1])
        0.5773502691896257
        """
        p = np.asarray(objective, dtype=float)
        p = p / p.sum()
        return float(np.sqrt(((p - np.asarray(self.u)) ** 2 / p).sum()))


def weighted_sampling(
    weights: Sequence[float],
    *,
    clients: int,
    drawn: int,
    chances: Sequence[float] | None = None,
    others: Mapping[float, int] = MappingProxyType({}),
) -> WeightedSampling:
    """Return what a draw of ``drawn`` of ``clients`` makes of holders with these weights.

    Holders of one weight and one chance are exchangeable, so that only how many of each kind are drawn has to be gone through.

    Parameters
    ----------
    weights
        Of the holders.
    clients, drawn
        How many there are in all, and how many a round draws.
    chances, others
        Those of the holders' coins, and how many others' there are of each (:mod:`fedtap.theory.unequal`); by default all sets
        are alike.

    Raises
    ------
    ValueError
        If a weight is not positive, or there are more holders than clients.

    Examples
    --------
    >>> found = weighted_sampling([1, 3], clients=2, drawn=1)
    >>> found.u, found.rho  # one at a time: weights do nothing
    ((0.5, 0.5), 1.0)
    >>> weighted_sampling([1, 3], clients=2, drawn=2).u
    (0.25, 0.75)
    """
    if not weights or min(weights) <= 0:
        raise ValueError("the weights of holders must be positive")
    if not (len(weights) <= clients and 1 <= drawn <= clients):
        raise ValueError(f"{len(weights)} holders and {drawn} drawn do not go with {clients} clients")
    holders = len(weights)
    kinds = list(zip(weights, [1.0] * holders if chances is None else chances, strict=True))
    values = sorted(set(kinds))
    sizes = [kinds.count(value) for value in values]
    most = [min(size, drawn) + 1 for size in sizes]
    exact = prod(most) <= MOST_CASES
    if exact:
        every = np.array(list(product(*map(range, most))))
        taken = every.sum(1)
        keep = (taken > 0) & (taken <= drawn) & (drawn - taken <= clients - holders)
        every = every[keep]
        if chances is None:
            sets = comb(clients, drawn)
            chance = np.array([_ways(case, sizes, clients - holders, drawn) / sets for case in every.tolist()])
        else:
            chance = _unequal(every, sizes, [coin for _, coin in values], others, drawn)
        pi = float(chance.sum())
    elif chances is not None:
        every, pi = _drawn_at_random(sizes, [coin for _, coin in values], others, drawn)
        chance = np.full(len(every), pi / len(every))
    else:
        rng = np.random.default_rng(0)
        colours = [*sizes, clients - holders]
        every = rng.multivariate_hypergeometric(colours, drawn, size=DRAWS)[:, :-1]
        hit = every.sum(1) > 0
        pi = 1 - comb(clients - holders, drawn) / comb(clients, drawn)
        every = every[hit]
        chance = np.full(len(every), pi / len(every))
    found = _moments([value for value, _ in values], sizes, every, chance / chance.sum())
    shares = dict(zip(values, found[0], strict=True))
    return WeightedSampling(tuple(shares[kind] for kind in kinds), pi, *found[1:], exact)


def _ways(case: list[int], sizes: list[int], others: int, drawn: int) -> int:
    return prod(comb(size, a) for size, a in zip(sizes, case, strict=True)) * comb(others, drawn - sum(case))


def _unequal(
    every: np.ndarray, sizes: Sequence[int], coins: Sequence[float], others: Mapping[float, int], drawn: int
) -> np.ndarray:
    """Return the probability of each case where holders and others have coins of their own, given that ``drawn`` show heads."""
    laws = [heads({coin: size}, min(size, drawn)) for size, coin in zip(sizes, coins, strict=True)]
    rest = heads(others, drawn)
    whole = heads(_together(sizes, coins), drawn)[::-1] @ rest
    ways = rest[drawn - every.sum(1)]
    for law, taken in zip(laws, every.T, strict=True):
        ways = ways * law[taken]
    return np.asarray(ways / whole)


def _together(sizes: Sequence[int], coins: Sequence[float]) -> Counter[float]:
    """Return how many coins there are of each chance, whatever their holders weigh."""
    found: Counter[float] = Counter()
    for size, coin in zip(sizes, coins, strict=True):
        found[coin] += size
    return found


def _drawn_at_random(
    sizes: Sequence[int], coins: Sequence[float], others: Mapping[float, int], drawn: int
) -> tuple[np.ndarray, float]:
    """Return cases drawn at random in which a holder is there, and how likely one is, which is exact."""
    rng = np.random.default_rng(0)
    rest = heads(others, drawn)
    pi = trained(_together(sizes, coins), others, drawn)
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < DRAWS:
        taken = rng.binomial(sizes, coins, size=(DRAWS, len(sizes)))
        number = taken.sum(1)
        likely = np.where((number > 0) & (number <= drawn), rest[np.clip(drawn - number, 0, drawn)], 0.0)
        kept.append(taken[rng.random(DRAWS) * rest.max() < likely])
    return np.concatenate(kept), pi


def _moments(
    values: Sequence[float], sizes: Sequence[int], every: np.ndarray, chance: np.ndarray
) -> tuple[list[float], float, float]:
    """Return the share of a holder of each kind, rho and phi, given the cases (how many of each are drawn) and their chances."""
    value, size = np.asarray(values, dtype=float), np.asarray(sizes, dtype=float)
    each = value / (every @ value)[:, None]  # of one holder of each kind, if it is drawn
    u = chance @ (every * each) / size
    square = chance @ (every * each**2) / size  # E of lambda_i squared
    rho = float(size @ square)
    # E of lambda_i lambda_j for two holders: of two kinds (off the diagonal), and of one kind where there are two.
    both = np.einsum("c,cg,ch->gh", chance, every * each, every * each) / np.outer(size, size)
    pairs = chance @ (every * (every - 1) * each**2)
    alike = np.where(size > 1, pairs / np.maximum(size * (size - 1), 1), 0.0)
    within = np.where(size > 1, (square - alike) / u, 0.0)  # contrasts between holders of one kind
    reduced = np.sqrt(np.outer(size, size)) * (both - np.outer(u, u)) / np.sqrt(np.outer(u, u))
    np.fill_diagonal(reduced, (square + (size - 1) * alike - size * u**2) / u)
    phi = max(float(within.max()), float(np.linalg.eigvalsh(reduced)[-1]), 0.0)
    return u.tolist(), rho, min(1.0, phi)
