"""The tables of a run, as plain rows with fixed columns: from what its folder says. Pure. Not here: data frames (frames.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from fedtap.pairs import Pair
from fedtap.reporting.progress.round_summary import RoundSummary
from fedtap.reporting.run.decisions import changed, decisions, is_first
from fedtap.reporting.run.gains import Comparison
from fedtap.reporting.run.series import OTHER, round_seconds, task_losses

Row = Mapping[str, Any]
Pairs = Mapping[tuple[str, str], Pair]

RESULTS = ("client", "task", "family", "model", "split", "metric", "value", "n")
GAINS = ("client", "task", "family", "metric", "model", "over", "value", "base", "percent", "p", "beyond_noise")
ROUNDS = ("round", "clients", "lost", "seconds", "bytes_down", "bytes_up", "weighed", "replaced")
LOSSES = ("round", "client", "task", "family", "model", "loss")
VALIDATION = ("round", "client", "task", "family", "model", "metric", "value", "n")
DECISIONS = (
    "round",
    "client",
    "task",
    "kind",
    "outcome",
    "changed",
    "first",
    "federated_loss",
    "personal_loss",
    "rule",
)
COST = ("what", "phase", "value")
TOTALS = ("seconds", "peak_rss_bytes", "bytes_down", "bytes_up", "steps_total")
"""What of cost.json is one number for the whole run."""


def gains(comparisons: Iterable[Comparison]) -> Iterator[Row]:
    """Iterate over the deployed model against each of its rivals, client-task by client-task."""
    for found in comparisons:
        for cell in found.cells:
            yield {
                "client": cell.client,
                "task": cell.task,
                "family": cell.family,
                "metric": cell.metric,
                "model": found.ours,
                "over": found.other,
                "value": cell.value,
                "base": cell.base,
                "percent": cell.percent,
                "p": cell.p,
                "beyond_noise": cell.beyond_noise,
            }


def rounds(events: Iterable[Row]) -> list[Row]:
    """Return the rounds: who took part, what was lost, decided and sent, and the mean loss of each model (``loss_NAME``)."""
    events = list(events)
    seconds = round_seconds(events)
    clients: dict[int, set[str]] = {}
    summaries: dict[int, RoundSummary] = {}
    last = max((int(event["round"]) for event in events if event["event"] == "round_started"), default=0)
    for event in events:
        number = int(event.get("round") or 0)
        if not 1 <= number <= last:  # what comes after the last round is no round
            continue
        if event["event"] == "round_started":
            clients[number], summaries[number] = set(), RoundSummary()  # begun anew after an interruption
        elif number in summaries:
            summaries[number].add(event)
            if event["event"] == "update":
                clients[number].add(str(event["client"]))
    return [
        {
            "round": number,
            "clients": len(clients[number]),
            "lost": told.lost,
            "seconds": seconds.get(number),
            "bytes_down": told.bytes_down,
            "bytes_up": told.bytes_up,
            "weighed": told.weighed,
            "replaced": told.replaced,
            **{f"loss_{model}": fmean(values) for model, values in told.losses.items()},
        }
        for number, told in sorted(summaries.items())
    ]


def losses(events: Iterable[Row], pairs: Pairs) -> Iterator[Row]:
    """Iterate over the training losses: a row for each model of each client's task in each round."""
    for event in events:
        if event["event"] == "update":
            for model, task, loss in task_losses(event):
                pair = pairs.get((event["client"], task))
                yield {
                    "round": int(event["round"]),
                    "client": event["client"],
                    "task": task,
                    "family": pair.family if pair else OTHER,
                    "model": model,
                    "loss": loss,
                }


def validation(events: Iterable[Row]) -> Iterator[Row]:
    """Iterate over what models scored on validation data: a row for each metric of each model of a client's task in a round."""
    for event in events:
        if event["event"] == "validation":
            for row in event["rows"]:
                about = {"round": int(event["round"]), "client": event["client"]}
                yield {key: about.get(key, row.get(key)) for key in VALIDATION}


def decided(events: Iterable[Row]) -> list[Row]:
    """Return the decisions on personal models, in the order in which they were taken: in the rounds, and after the last."""
    events = list(events)
    found = [event for kind in ("replace", "distil") for event in decisions(events, kind)]
    return [
        {**{key: event.get(key) for key in DECISIONS}, "changed": changed(event), "first": is_first(event)}
        for event in found
    ]


def cost(told: Row | None) -> Iterator[Row]:
    """Iterate over what a run cost: its totals, and the seconds of each phase."""
    for what in TOTALS:
        if told and told.get(what) is not None:
            yield {"what": what, "phase": "all", "value": told[what]}
    for phase, spent in ((told or {}).get("by_phase") or {}).items():
        yield {
            "what": "seconds",
            "phase": phase,
            "value": spent.get("seconds") if isinstance(spent, Mapping) else spent,
        }
