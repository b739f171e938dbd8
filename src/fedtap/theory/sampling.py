r"""How often a component is trained and how well it is averaged when m of N clients are drawn. Closed forms, no tensors.

A component has n holders. A round draws a set of m of the N clients, all sets alike; ``a`` holders are among them, which is a
hypergeometric number. Three quantities are all that the theorem (docs/theory.md) asks of it:

.. math::

    \pi = P(a > 0), \qquad \rho = E[1/a \mid a > 0], \qquad
    \varphi = E\Big[\frac1a \frac{n-a}{n-1} \,\Big|\, a > 0\Big] = \frac{n \rho - 1}{n - 1} \quad (0 \text{ if } n = 1)

They are the share of rounds that train it, what is left of one client's gradient noise in the mean, and what is left of the
holders' disagreement. The holders here count alike; :mod:`fedtap.theory.counts` weighs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import comb, exp, log


@dataclass(frozen=True, slots=True)
class Sampling:
    """A component's pi, rho and phi; see the module.

    ``clients`` are all that may be drawn (N), ``holders`` those that hold the component (n), ``drawn`` those of a round (m).
    """

    clients: int
    holders: int
    drawn: int
    pi: float
    rho: float
    phi: float

    @property
    def share(self) -> float:
        """The share of clients that hold it, q = n / N."""
        return self.holders / self.clients

    @property
    def price(self) -> float:
        r"""The bound's price, m rho / pi: rounds where noise rules, those of a component that all N clients hold being 1.

        Proved for pairs of one size with components of their own (Corollary 1b of docs/theory.md); elsewhere it is a guide.
        """
        return self.drawn * self.rho / self.pi


def sampling(clients: int, holders: int, drawn: int) -> Sampling:
    """Return pi, rho and phi as floats; any numbers will do, since nothing larger than a float is formed.

    Raises
    ------
    ValueError
        Unless 1 <= holders <= clients and 1 <= drawn <= clients.

    Examples
    --------
    >>> found = sampling(10, 3, 2)
    >>> round(found.pi, 4), round(found.rho, 4), round(found.phi, 4)
    (0.5333, 0.9375, 0.9062)
    """
    _check(clients, holders, drawn)
    weights = list(_law(clients, holders, drawn))
    absent = exp(sum(log(1 - holders / (clients - j)) for j in range(drawn))) if holders + drawn <= clients else 0.0
    total = sum(weight for _, weight in weights)
    rho = sum(weight / a for a, weight in weights) / total
    return Sampling(clients, holders, drawn, 1 - absent, rho, _phi(holders, rho))


def exact_sampling(clients: int, holders: int, drawn: int) -> tuple[Fraction, Fraction, Fraction]:
    """Return pi, rho and phi as fractions.

    >>> exact_sampling(10, 3, 2)
    (Fraction(8, 15), Fraction(15, 16), Fraction(29, 32))
    """
    _check(clients, holders, drawn)
    sets = comb(clients, drawn)
    pi = 1 - Fraction(comb(clients - holders, drawn), sets)
    inverse = sum(
        (
            Fraction(comb(holders, a) * comb(clients - holders, drawn - a), a * sets)
            for a in range(1, min(holders, drawn) + 1)
        ),
        Fraction(0),
    )
    rho = inverse / pi
    return pi, rho, Fraction(0) if holders == 1 else (holders * rho - 1) / (holders - 1)


def drawn_for(clients: int, holders: int, *, beside: int, share: float) -> int:
    """Return the fewest clients a round with which a component is trained in ``share`` of the rounds of another one.

    The other has ``beside`` holders. With all clients in every round both are always trained.

    >>> drawn_for(30, 3, beside=30, share=0.5), round(sampling(30, 3, 6).pi, 3), round(sampling(30, 3, 5).pi, 3)
    (6, 0.501, 0.433)
    """
    absent = [1.0, 1.0]
    for drawn in range(1, clients + 1):
        for which, number in enumerate((holders, beside)):
            absent[which] *= max(0.0, 1 - number / (clients - drawn + 1))
        if 1 - absent[0] >= share * (1 - absent[1]) - 1e-12:
            break
    return drawn


def _law(clients: int, holders: int, drawn: int) -> Iterator[tuple[int, float]]:
    """Iterate over (a, weight) for a > 0, weights in proportion to the probabilities and the largest of them 1."""
    least = max(1, drawn - (clients - holders))
    most = min(holders, drawn)
    logs = [0.0]
    for a in range(least, most):
        up = (holders - a) * (drawn - a)
        down = (a + 1) * (clients - holders - drawn + a + 1)
        logs.append(logs[-1] + log(up / down))
    top = max(logs)
    return ((least + step, exp(value - top)) for step, value in enumerate(logs))


def _phi(holders: int, rho: float) -> float:
    return 0.0 if holders == 1 else max(0.0, (holders * rho - 1) / (holders - 1))


def _check(clients: int, holders: int, drawn: int) -> None:
    if not (1 <= holders <= clients and 1 <= drawn <= clients):
        raise ValueError(f"{holders} holders and {drawn} drawn do not go with {clients} clients")
