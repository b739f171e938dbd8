"""The methods by name. A new method is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fedtap.algorithms.base import Algorithm
from fedtap.algorithms.fedavg import FedAvg
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning
from fedtap.algorithms.local import Local
from fedtap.algorithms.probe import LinearProbe
from fedtap.algorithms.tap import Tap
from fedtap.errors import UserError, nearest
from fedtap.explain import explain

_METHODS: tuple[type[Algorithm], ...] = (Local, LinearProbe, FedAvg, FedAvgFineTuning, Tap)


def algorithms() -> Mapping[str, type[Algorithm]]:
    """Return every method by name."""
    return {method.name: method for method in _METHODS}


def make(settings: Mapping[str, Any], method: str | None = None, place: str = "method") -> Algorithm:
    """Return a method from a scenario's ``method`` section, or the method named instead of it.

    Parameters of the section that belong to the section's own method are left out where another method is named in its place;
    a parameter that no method has is refused in any case.

    Raises
    ------
    UserError
        If the method or one of its parameters is unknown, or a value is wrong.
    """
    given = dict(settings)
    scenario_method = str(given.pop("name", "tap"))
    name = method or scenario_method
    known = algorithms()
    if name not in known:
        raise UserError(f"{place}: no method '{name}'; {nearest(name, known)}")
    kind = known[name]
    if name != scenario_method:
        every = {field for other in known.values() for field in other.Params.model_fields}
        for key in given:
            if key not in every:
                raise UserError(f"{place}: unknown key '{key}'; {nearest(key, every)}")
        given = {key: value for key, value in given.items() if key in kind.Params.model_fields}
    try:
        return kind(kind.Params.model_validate(given))
    except ValidationError as error:
        raise UserError(f"{place} '{name}': {explain(error, kind.Params)}") from error
