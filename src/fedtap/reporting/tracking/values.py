"""What trackers are told: the scenario as parameters, a round as numbers, results and gains as numbers. Pure.

Names are paths of plain words, the same in every tracker: ``loss/FAMILY/MODEL``, ``client/ID/TASK/loss/MODEL``,
``test/ID/TASK/METRIC/MODEL``, ``gain/MODEL/over/RIVAL/mean``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtap.reporting.events import LOST
from fedtap.reporting.run.decisions import changed, is_weighed
from fedtap.reporting.run.headline import comparisons
from fedtap.reporting.run.record import RunRecord, pairs_of
from fedtap.reporting.run.series import loss_curves, round_seconds, task_losses, traffic, validation_curves
from fedtap.reporting.run.standings import standings

MOST_TASKS = 400
"""Client tasks that have numbers of their own; with more, only sums and means are told."""
HIDDEN = "(a place of the machine)"
_PLAIN = re.compile(r"[^A-Za-z0-9_./ -]")
_MOST_TEXT = 500


def parameters(run: Mapping[str, Any]) -> dict[str, str]:
    """Return a run's scenario, method, seed and versions, flat; places of the machine and addresses are left out.

    >>> parameters({"seed": 1, "method": "tap", "config": {"rounds": 3, "data": {"cache": "/home/me/x"}}})
    {'method.name': 'tap', 'seed': '1', 'rounds': '3', 'data.cache': '(a place of the machine)'}
    """
    config = dict(run.get("config") or {})
    clients = config.pop("clients", None) or ()
    for told in ("about", "tracking", "report"):
        config.pop(told, None)
    found = {"method.name": str(run.get("method", "")), "seed": str(run.get("seed", ""))}
    found.update(_flat(config))
    if clients:
        found["clients"] = str(len(clients))
        for client in clients[:MOST_TASKS]:
            tasks = ", ".join(f"{task['name']} ({task['type']}, {task['modality']})" for task in client["tasks"])
            found[f"client.{client['id']}"] = f"{tasks}{'; unseen' if client.get('unseen') else ''}"
    environment = run.get("environment") or {}
    for key in ("python", "torch", "threads", "resolved_device"):
        if environment.get(key) is not None:
            found[f"environment.{key}"] = str(environment[key])
    if run.get("fedtap"):
        found["environment.fedtap"] = str(run["fedtap"])
    return {_name(key): value[:_MOST_TEXT] for key, value in found.items()}


def complete_rounds(events: Iterable[Mapping[str, Any]]) -> list[int]:
    """Return the rounds that are finished."""
    return sorted({int(event["round"]) for event in events if event["event"] == "round_finished"})


def round_values(
    events: Sequence[Mapping[str, Any]], config: Mapping[str, Any], number: int
) -> tuple[dict[str, float], float]:
    """Return a round's numbers by name, and when it ended: losses, scores, replacements, clients, examples, bytes, seconds."""
    mine = [event for event in events if event.get("round") == number and event["event"] != "personalised"]
    pairs = pairs_of(config)
    found: dict[str, float] = {}
    for family, models in loss_curves(mine, pairs).items():
        found.update({f"loss/{family}/{model}": curve[number] for model, curve in models.items()})
    for (family, metric), models in validation_curves(mine, pairs).items():
        found.update({f"validation/{family}/{metric}/{model}": curve[number] for model, curve in models.items()})
    each = len(pairs) <= MOST_TASKS
    updates = [event for event in mine if event["event"] == "update"]
    for event in updates if each else ():
        found.update(
            {f"client/{event['client']}/{task}/loss/{model}": loss for model, task, loss in task_losses(event)}
        )
    weighed = [event for event in mine if is_weighed(event)]
    for event in weighed if each else ():
        found[f"client/{event['client']}/{event['task']}/replaced"] = float(changed(event))
    if weighed:
        replaced = sum(changed(event) for event in weighed)
        found |= {
            "replaced/count": replaced,
            "replaced/weighed": len(weighed),
            "replaced/share": replaced / len(weighed),
        }
    found["clients/answered"] = len(updates)
    found["clients/lost"] = sum(event["event"] in LOST for event in mine)
    found["examples"] = sum(int(event.get("examples") or 0) for event in updates)
    for moved in traffic(mine).values():
        found |= {"bytes/down": moved.down, "bytes/up": moved.up}
    if number in (seconds := round_seconds(mine)):
        found["seconds/round"] = seconds[number]
    ended = [float(event["time"]) for event in mine if event["event"] == "round_finished"]
    return _finite(found.items()), ended[-1] if ended else 0.0


def final_values(record: RunRecord) -> dict[str, float]:
    """Return the numbers that a finished run ended with: metrics by client, task and model, gains, sizes, costs."""
    each = len(record.pairs()) <= MOST_TASKS
    found: list[tuple[str, float | None]] = [
        (f"{row['split']}/{row['client']}/{row['task']}/{row['metric']}/{row['model']}", row["value"])
        for row in (record.rows or () if each else ())
    ]
    own = standings(record.rows or [], record.config)
    for against in comparisons(record.run, own, record.outcomes):
        place = f"gain/{against.ours}/over/{against.other}"
        found.append((f"{place}/mean", against.mean))
        ends = against.interval
        if ends is not None:
            found += [(f"{place}/low", ends[0]), (f"{place}/high", ends[1])]
        for name, order in (("ahead", 1), ("behind", -1)):
            found.append((f"{place}/{name}", against.count(order)))
            found.append((f"{place}/{name} beyond noise", against.count(order, beyond=True)))
        for cell in against.cells if each else ():
            found.append((f"{place}/{cell.client}/{cell.task}", cell.percent))
    for client, tasks in record.outcomes.items() if each else ():
        for task, kept in tasks.items():
            found += [(f"data/{client}/{task}/{part}", size) for part, size in kept["sizes"].items()]
    cost = record.cost or {}
    for key in ("seconds", "bytes_down", "bytes_up", "steps_total", "peak_rss_bytes"):
        found.append((f"cost/{key}", cost.get(key)))
    return _finite(found)


def _finite(found: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    return {_name(key): float(value) for key, value in found if value is not None and math.isfinite(value)}


def _flat(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        here = f"{place}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{here}.")
        elif isinstance(value, list):
            yield here, ", ".join(_shown(each) for each in value)
        elif value is not None:
            yield here, _shown(value)


def _shown(value: Any) -> str:
    text = str(value)
    return HIDDEN if isinstance(value, str) and (Path(text).is_absolute() or text[:1] == "~" or "://" in text) else text


def _name(text: str) -> str:
    """Return a name that every tracker takes."""
    return _PLAIN.sub("_", text)[:240]
