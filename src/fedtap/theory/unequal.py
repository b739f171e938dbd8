r"""Drawing clients with unequal chances: who holds what few hold is drawn more often, every round by itself. No tensors.

N coins with the chances p are tossed until m of them show heads: a set S of m clients has a probability in proportion to
:math:`\prod_{i \in S} p_i / (1 - p_i)`, the *conditional Poisson* design (Hajek 1964; Chen, Dempster and Liu 1994). With equal p
all sets are alike. How many of some clients are drawn follows from the law of a number of heads (:func:`heads`), so that all that
the theorem asks is in closed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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


def heads(chances: Sequence[float], most: int) -> Floats:
    """Return the probabilities that 0, 1, ..., ``most`` of these coins show heads.

    >>> heads([0.5, 0.5], 2).tolist()
    [0.25, 0.5, 0.25]
    """
    law = np.zeros(most + 1)
    law[0] = 1.0
    for chance in chances:
        up = law[:-1] * chance
        law *= 1 - chance
        law[1:] += up
    return law


def trained(mine: Sequence[float], others: Sequence[float], drawn: int) -> float:
    """Return pi of a component: how likely one of its holders, with the chances ``mine``, is among the ``drawn``.

    >>> round(trained([0.4], [0.2] * 8, 2), 4), round(trained([0.25] * 2, [0.25] * 6, 2), 4)  # the second: 1 - 15 / 28
    (0.4324, 0.4643)
    """
    none = float(np.prod(1 - np.asarray(mine, dtype=np.float64))) * heads(others, drawn)[drawn]
    return float(1 - none / heads([*mine, *others], drawn)[drawn])


def draw(chances: Sequence[float], drawn: int, generator: np.random.Generator) -> list[int]:
    """Return the places of a set of ``drawn`` clients; the chances sum to ``drawn``, so that few tosses are needed."""
    coins = np.asarray(chances)
    while True:
        found = np.flatnonzero(generator.random(len(coins)) < coins)
        if len(found) == drawn:
            return [int(place) for place in found]
