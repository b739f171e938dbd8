r"""Drawing clients with unequal chances: who holds what few hold is drawn more often, every round by itself. No tensors.

N coins with the chances p are tossed until m of them show heads: a set S of m clients has a probability in proportion to
:math:`\prod_{i \in S} p_i / (1 - p_i)`, the *conditional Poisson* design (Hajek 1964; Chen, Dempster and Liu 1994). With equal p
all sets are alike. How many of some clients are drawn follows from the law of a number of heads (:func:`heads`), so that all that
the theorem asks is in closed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp, lgamma, log, log1p

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def coverage_chances(holdings: Mapping[str, Iterable[str]], drawn: int) -> dict[str, float]:
    """Return for each client the chance of its coin: in proportion to 1 / n, n being the holders of its rarest component.

    They sum to ``drawn``. Where every client's rarest has as many holders, all are as likely; who would be drawn more than once a
    round is in every round.

    Parameters
    ----------
    holdings
        For each client the components that it holds. Who holds none (that is averaged) counts as one whose rarest all hold.
    drawn
        Clients a round.

    Examples
    --------
    >>> coverage_chances({"a": ["trunk"], "b": ["trunk"], "c": ["head"]}, 1)
    {'a': 0.25, 'b': 0.25, 'c': 0.5}
    """
    held = {client: set(keys) for client, keys in holdings.items()}
    holders: dict[str, int] = {}
    for keys in held.values():
        for key in keys:
            holders[key] = holders.get(key, 0) + 1
    rarest = {client: min((holders[key] for key in keys), default=len(held)) for client, keys in held.items()}
    scarce = {client: 1 / number for client, number in rarest.items()}
    chances: dict[str, float] = {}
    while len(chances) < min(drawn, len(held)):  # those that reach 1 are in every round; the others share what is left
        left = {client: share for client, share in scarce.items() if client not in chances}
        scale = (drawn - len(chances)) / sum(left.values())
        certain = {client: 1.0 for client, share in left.items() if share * scale >= 1 - 1e-12}
        if not certain:
            return {client: chances.get(client, scarce[client] * scale) for client in held}
        chances.update(certain)
    return {client: chances.get(client, 0.0) for client in held}


def heads(coins: Mapping[float, int], most: int) -> Floats:
    """Return the probabilities that 0, 1, ..., ``most`` coins show heads; ``coins`` is how many there are of each chance.

    >>> heads({0.5: 2}, 2).round(12).tolist()
    [0.25, 0.5, 0.25]
    """
    law = np.zeros(most + 1)
    law[0] = 1.0
    for chance, number in sorted(coins.items()):
        own = np.zeros(most + 1)
        for up in range(min(most, number) + 1):
            own[up] = _binomial(number, up, chance)
        law = np.convolve(law, own)[: most + 1]
    return law


def _binomial(number: int, up: int, chance: float) -> float:
    """Return the probability of ``up`` heads; in logs, since there may be very many coins."""
    if chance >= 1 or chance <= 0:
        return float(up == (number if chance >= 1 else 0))
    ways = lgamma(number + 1) - lgamma(up + 1) - lgamma(number - up + 1)
    return exp(ways + up * log(chance) + (number - up) * log1p(-chance))


def trained(mine: Mapping[float, int], others: Mapping[float, int], drawn: int) -> float:
    """Return pi of a component: how likely one of its holders is among the ``drawn``; both are coins by their chances.

    >>> round(trained({0.4: 1}, {0.2: 8}, 2), 4), round(trained({0.25: 2}, {0.25: 6}, 2), 4)  # the second: 1 - 15 / 28
    (0.4324, 0.4643)
    """
    rest = heads(others, drawn)
    none = heads(mine, 0)[0] * rest[drawn]
    some = heads(mine, drawn)[::-1] @ rest  # that all of them together show ``drawn``
    return float(1 - none / some)


def draw(chances: Sequence[float], drawn: int, generator: np.random.Generator) -> list[int]:
    """Return the places of a set of ``drawn`` clients; the chances sum to ``drawn``, so that few tosses are needed."""
    coins = np.asarray(chances)
    while True:
        found = np.flatnonzero(generator.random(len(coins)) < coins)
        if len(found) == drawn:
            return [int(place) for place in found]
