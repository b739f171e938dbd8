"""What the panels of a sweep's figures show: gains by split, metrics by family, costs. Not here: how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.metrics.table import HIGHER_IS_BETTER
from fedtap.reporting.comparison.tables import SPLIT_NAMES
from fedtap.reporting.html.formatting import family_name, metric_name
from fedtap.reporting.sweep.series import Line, Mean, families, gain_at, lines, metric_at

Values = Mapping[str, Any]
Panels = dict[str, list[Line]]
"""Title -> lines."""


def gain_panels(result: Values) -> Panels:
    """Return the mean gains on each split that has any, in percent."""
    gains = {SPLIT_NAMES[split]: lines(result, gain_at(split)) for split in SPLIT_NAMES}
    return {name: found for name, found in gains.items() if any(line.at for line in found)}


def family_panels(result: Values) -> Panels:
    """Return the mean of each family's metric on own test data."""
    return {
        f"{family_name(family)}, {metric_name(metric)} {arrow(metric)}": lines(
            result, metric_at("test", family, metric)
        )
        for family, metric in families(result, "test")
    }


def cost_panels(result: Values, costs: Sequence[Values]) -> Panels:
    """Return bytes of a run as lines, and seconds where they are known."""
    seconds = {row["method"]: row["seconds"] for row in costs if row.get("seconds") is not None}

    def moved(point: Values) -> Mean | None:
        return (point["costs"]["bytes_down"] + point["costs"]["bytes_up"]) / 1e6, None

    def spent(point: Values) -> Mean | None:
        return (seconds[point["setting"]], None) if point["setting"] in seconds else None

    known = {"seconds, one thread": lines(result, spent)} if seconds else {}
    return {"MB down and up": lines(result, moved), **known}


def arrow(metric: str) -> str:
    """Return which way a metric gets better."""
    return "↑" if HIGHER_IS_BETTER.get(metric, True) else "↓"
