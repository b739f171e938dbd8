"""Which of several methods that nothing tells apart is to be taken: the one that asks least of a federation. Pure.

The order: what sends nothing comes first, since it needs no federation; then the fewest local steps of a run, which are time at
every client; then the fewest bytes; then the fewest models that a client ends with, which somebody has to look after; then the
name. Steps and bytes are compared to two digits: a layer more or less decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """What a run of a method takes, mean over its seeds: local steps of all clients, bytes down and up, models at a client."""

    method: str
    steps: float
    traffic: float
    models: int


def cheapest_first(prices: Iterable[Price]) -> list[str]:
    """Return the labels of methods, what asks least first.

    >>> cheapest_first([Price("b", 100, 5e6, 2), Price("a", 101, 5.01e6, 3), Price("alone", 900, 0, 1)])
    ['alone', 'b', 'a']
    """

    def asks(price: Price) -> tuple[bool, float, float, int, str]:
        return price.traffic > 0, _rough(price.steps), _rough(price.traffic), price.models, price.method

    return [price.method for price in sorted(prices, key=asks)]


def _rough(value: float) -> float:
    """Return a number to two digits.

    >>> _rough(1249), _rough(0)
    (1200.0, 0.0)
    """
    return float(f"{value:.1e}")
