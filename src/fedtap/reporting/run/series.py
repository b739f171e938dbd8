"""What the event log says round by round: losses per family and model, bytes, seconds. Pure: events in, numbers out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any, NamedTuple

from fedtap.metrics.table import primary
from fedtap.pairs import Pair

OTHER = "other tasks"
"""Where losses stand of a task that the scenario does not name: a figure for each would have no end."""
Curve = dict[int, float]
"""Round -> value."""


class Traffic(NamedTuple):
    """Bytes of all clients of a round."""

    down: int
    up: int


def task_losses(update: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield (model, task, loss) of an update event.

    ``losses`` are those of the model that was trained and sent (where nothing was sent, a local one), ``personal_losses``
    those of the model trained beside it.
    """
    sent = "federated" if update.get("bytes_up", 1) else "local"
    for model, key in ((sent, "losses"), ("personal", "personal_losses")):
        yield from ((model, task, float(loss)) for task, loss in (update.get(key) or {}).items() if loss is not None)


def loss_curves(
    events: Iterable[Mapping[str, Any]], pairs: Mapping[tuple[str, str], Pair]
) -> dict[str, dict[str, Curve]]:
    """Return family -> model -> round -> mean training loss over the clients and tasks that took part."""
    gathered: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for event in events:
        if event["event"] == "update":
            for model, task, loss in task_losses(event):
                pair = pairs.get((event["client"], task))
                gathered[pair.family if pair else OTHER, model, int(event["round"])].append(loss)
    curves: dict[str, dict[str, Curve]] = {}
    for (family, model, number), losses in sorted(gathered.items()):
        curves.setdefault(family, {}).setdefault(model, {})[number] = fmean(losses)
    return curves


def validation_curves(
    events: Iterable[Mapping[str, Any]], pairs: Mapping[tuple[str, str], Pair]
) -> dict[tuple[str, str], dict[str, Curve]]:
    """Return (family, metric) -> model -> round -> mean over the clients and tasks that took part.

    The metric is the one that counts in comparisons; rows without a number, of a model that has diverged, are left out.
    """
    gathered: dict[tuple[str, str, str, int], list[float]] = defaultdict(list)
    for event in events:
        for row in event["rows"] if event["event"] == "validation" else ():
            pair = pairs.get((event["client"], row["task"]))
            if pair and row["value"] is not None and row["metric"] == primary(pair.type, pair.modality):
                gathered[pair.family, row["metric"], row["model"], int(event["round"])].append(float(row["value"]))
    curves: dict[tuple[str, str], dict[str, Curve]] = {}
    for (family, metric, model, number), values in sorted(gathered.items()):
        curves.setdefault((family, metric), {}).setdefault(model, {})[number] = fmean(values)
    return curves


def traffic(events: Iterable[Mapping[str, Any]]) -> dict[int, Traffic]:
    """Return round -> bytes sent down to the clients and up from them."""
    totals: dict[int, Traffic] = {}
    for event in events:
        if event["event"] == "update":
            before = totals.get(int(event["round"]), Traffic(0, 0))
            down, up = int(event.get("bytes_down") or 0), int(event.get("bytes_up") or 0)
            totals[int(event["round"])] = Traffic(before.down + down, before.up + up)
    return dict(sorted(totals.items()))


def round_seconds(events: Iterable[Mapping[str, Any]]) -> Curve:
    """Return round -> wall-clock seconds from its start to its end; a round cut short by an interruption is left out."""
    started: dict[int, float] = {}
    seconds: Curve = {}
    for event in events:
        if event["event"] == "round_started":
            started[int(event["round"])] = float(event["time"])
        elif event["event"] == "round_finished" and int(event["round"]) in started:
            seconds[int(event["round"])] = float(event["time"]) - started[int(event["round"])]
    return seconds
