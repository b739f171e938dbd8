"""The unit in which a number is learned: the two ends of a scale that a scenario names become -1 and 1. Pure arithmetic.

The scale is the scenario's and not taken from data: it is the same at all clients that share a head, so that their errors, and
the means of what they learn from them, are in one unit; and nobody has to tell what their numbers are like.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

from torch import Tensor

Scale: TypeAlias = tuple[float, float]
Number = TypeVar("Number", float, Tensor)


def half_of(scale: Scale) -> float:
    """Return half the length of a scale: what an error of 1 is in the user's unit.

    >>> half_of((0.0, 100.0))
    50.0
    """
    return (scale[1] - scale[0]) / 2


def scaled(value: Number, scale: Scale) -> Number:
    """Return a number of the user's as it is learned; what lies beyond the ends stays beyond.

    >>> scaled(75.0, (0.0, 100.0)), scaled(120.0, (0.0, 100.0))
    (0.5, 1.4)
    """
    return (value - (scale[0] + scale[1]) / 2) / half_of(scale)


def unscaled(value: Number, scale: Scale) -> Number:
    """Return a number as it is learned in the user's unit.

    >>> unscaled(0.5, (0.0, 100.0))
    75.0
    """
    return value * half_of(scale) + (scale[0] + scale[1]) / 2
