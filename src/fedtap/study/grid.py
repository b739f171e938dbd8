"""What a sweep sweeps: lists of values for settings, and the scenarios that their cross product makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, load_scenario
from fedtap.study.variants import file_name, split_list

CLIENTS = "clients"
"""In a sweep this is a number of clients, and short for ``population``; in a scenario it is the list of them."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A swept setting: its key as it was given, and its values as text."""

    key: str
    values: tuple[str, ...]

    @property
    def of_method(self) -> bool:
        """Whether it is a parameter of the method, and not of the scenario."""
        top = self.key.split(".")[0]
        return top == "method" or top not in Scenario.model_fields

    @property
    def parameter(self) -> str:
        """The method's parameter that it sets."""
        return self.key.removeprefix("method.")


def axes_of(settings: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """Return the swept settings, and those given a single value, of ``--set key=v1,v2,...`` options.

    Raises
    ------
    UserError
        If a setting is malformed, given twice, has the same value twice, or none has several values.
    """
    swept: list[Axis] = []
    fixed: list[str] = []
    keys: list[str] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"--set {setting}: give key=value, or key=v1,v2,v3 to sweep it")
        if key in keys:
            raise UserError(f"--set {setting}: '{key}' is given twice; list all its values in one --set")
        keys.append(key)
        values = split_list(value)
        if len(values) == 1 and key != CLIENTS:
            fixed.append(setting)
            continue
        if "" in values or len(set(values)) < len(values):
            raise UserError(f"--set {setting}: every value must be there once; check the commas")
        swept.append(Axis(key, tuple(values)))
    if not swept:
        raise UserError("--set: no setting has several values; give, for example, --set method.margin=0.001,0.01,0.1")
    if any(axis.key in ("method", "method.name") for axis in swept):
        raise UserError(
            "--set method: a sweep has one method; compare several with `fedtap compare`, or add them with --vs"
        )
    return swept, fixed


def points(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Return every combination of values by key, the first key's values in turn for each of the others'."""
    return [
        dict(zip([axis.key for axis in axes], values, strict=True)) for values in product(*(a.values for a in axes))
    ]


def scenario_at(path: str | Path, fixed: Sequence[str], axes: Sequence[Axis], point: dict[str, str]) -> Scenario:
    """Return the scenario at a point, the settings of the method left aside."""
    overrides = list(fixed)
    for axis in axes:
        value = point[axis.key]
        if axis.key == CLIENTS:
            overrides.append(f"population={_count(value)}")
        elif not axis.of_method:
            overrides.append(f"{axis.key}={value}")
    return load_scenario(path, overrides)


def method_settings(axes: Sequence[Axis], point: dict[str, str]) -> list[str]:
    """Return the method's own settings at a point, as overrides."""
    return [f"method.{axis.parameter}={point[axis.key]}" for axis in axes if axis.of_method]


def point_name(label: str, settings: Mapping[str, str]) -> str:
    """Return what the runs of a method at a setting are called, without their seed."""
    return "-".join(file_name(part) for part in (label, *(f"{key}={value}" for key, value in settings.items())))


def _count(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise UserError(f"--set clients={value}: in a sweep this is a number of clients, for example clients=10,30,100")
    return int(value)
