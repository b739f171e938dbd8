"""The points of a sweep as lines: what is on the x axis, and which values belong to one line. From the values of sweep.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]
Mean = tuple[float, Sequence[float] | None]
"""A mean and its interval."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a figure: means at values of the x axis, or one mean for all where the setting does not apply."""

    name: str
    at: Mapping[str, Mean]
    everywhere: Mean | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """The x axis: its name, and where each value lies. ``kind`` is ``linear``, ``log``, ``symlog`` or ``names``."""

    name: str
    places: Mapping[str, float]
    kind: str


def scale_of(axis: Values) -> Scale:
    """Return the x axis of the first swept setting: logarithmic where numbers span more than two decades.

    >>> scale_of({"key": "margin", "values": ["0.001", "1"]}).kind, scale_of({"key": "gate", "values": ["a", "b"]}).kind
    ('log', 'names')
    """
    key, values = str(axis["key"]), list(axis["values"])
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return Scale(key, {value: float(place) for place, value in enumerate(values)}, "names")
    sizes = [abs(number) for number in numbers.values() if number]
    wide = bool(sizes) and max(sizes) > 100 * min(sizes)
    kind = "linear" if not wide else "log" if min(numbers.values()) > 0 else "symlog"
    return Scale(key, numbers, kind)


def lines(result: Values, value: Callable[[Values], Mean | None]) -> list[Line]:
    """Return a line for each series, of what ``value`` finds at its points; points without it are left out."""
    x = result["axes"][0]["key"]
    found: dict[str, dict[str, Mean]] = {}
    flat: dict[str, Mean] = {}
    for point in result["points"]:
        mean = value(point)
        if mean is None:
            continue
        if x in point["settings"]:
            found.setdefault(point["series"], {})[point["settings"][x]] = mean
        else:
            flat[point["series"]] = mean
    return [Line(name, at) for name, at in found.items()] + [Line(name, {}, mean) for name, mean in flat.items()]


def gain_at(split: str) -> Callable[[Values], Mean | None]:
    """Return what finds the mean gain of a point on a split."""

    def find(point: Values) -> Mean | None:
        gain = (point["splits"].get(split) or {}).get("gain")
        if gain is None or gain["delta_percent"] is None:
            return None
        return gain["delta_percent"], gain["ci95"]

    return find


def metric_at(split: str, family: str, metric: str) -> Callable[[Values], Mean | None]:
    """Return what finds a family's mean metric of a point on a split."""

    def find(point: Values) -> Mean | None:
        for row in (point["splits"].get(split) or {}).get("rows", []):
            if (row["family"], row["metric"]) == (family, metric):
                return row["mean"], row["ci95"]
        return None

    return find


def families(result: Values, split: str) -> list[tuple[str, str]]:
    """Return the (family, metric) that any point has on a split."""
    rows = [row for point in result["points"] for row in (point["splits"].get(split) or {}).get("rows", [])]
    return sorted({(row["family"], row["metric"]) for row in rows})
