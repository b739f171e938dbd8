"""What the dials of a scenario do to each client's examples, task by task. Not here: each dial (conflict, shift)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from fedtap.data.dials.conflict import Names, exchanged
from fedtap.data.dials.shift import dealt, shifted
from fedtap.data.example import Example
from fedtap.scenario.scenario import Scenario

Turn: TypeAlias = Callable[[Example], Example]


def turned(scenario: Scenario, seed: int) -> Mapping[tuple[str, str], Turn]:
    """Return, for the clients and tasks whose examples are changed, what is done to each example.

    Raises
    ------
    UserError
        If ``data.conflict`` names a task whose classes no two clients share.
    """
    called, kinds = exchanged(scenario, seed), dealt(scenario)
    return {place: partial(_turn, called.get(place), kinds.get(place)) for place in sorted({*called, *kinds})}


def _turn(names: Names | None, kinds: tuple[str, str] | None, example: Example) -> Example:
    if names is not None:
        assert isinstance(example.target, int)
        example = replace(example, target=int(names[example.target]))
    return example if kinds is None else shifted(example, *kinds)
