"""A run's folder, read into memory: what it was (run.json), what happened (events.jsonl), what came out (results.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtap.pairs import Pair
from fedtap.reporting.events import read_events
from fedtap.reporting.run.outcomes import Kept, read_outcomes
from fedtap.reporting.run.told import (
    CostTold,
    PrivacyTold,
    RunTold,
    check_events,
    check_told,
    checked_rows,
)
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import RECORD, check_files, read_listed, read_record
from fedtap.runtime.storage import read_json

FILES = (RECORD, "results.json", "cost.json", "events.jsonl")
UNCHECKED = (
    "run.json holds no digest: the run is older than they are, or somebody took it out; nothing here was checked"
)
Row = Mapping[str, Any]
"""A row of results.json: client, task, family, model, split, metric, value, n."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that a run's folder says about the run.

    ``rows`` is None while the run is unfinished, ``cost`` None where it was not written.
    """

    folder: Path
    run: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    rows: Sequence[Row] | None
    cost: Mapping[str, Any] | None
    privacy: Mapping[str, Any] | None = None
    """What the run's noise is worth, where there was any."""
    checked: bool = True
    """Whether the files are known to be those that the run left; run.json of a run before there were digests has none."""
    outcomes: Mapping[str, Mapping[str, Kept]] = field(default_factory=dict)
    """What is kept of single test examples, by client and task."""
    beside: bool = True
    """Whether a page of it lies in the run's folder, and may lead to other files there."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved scenario."""
        config: Mapping[str, Any] = self.run.get("config") or {}
        return config

    @property
    def clients(self) -> list[Mapping[str, Any]]:
        """The clients' settings."""
        return list(self.config.get("clients") or [])

    def events_of(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the events of one kind."""
        return [event for event in self.events if event["event"] == kind]

    def pairs(self) -> dict[tuple[str, str], Pair]:
        """Return every client's pairs, by (client, task)."""
        return pairs_of(self.config)


def pairs_of(config: Mapping[str, Any]) -> dict[tuple[str, str], Pair]:
    """Return every client's pairs, by (client, task), from a resolved scenario."""
    return {
        (client["id"], task["name"]): Pair(
            task["name"], task["type"], task["modality"], task["domain"], task.get("head") or ""
        )
        for client in config.get("clients") or []
        for task in client["tasks"]
    }


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder.

    Raises
    ------
    UserError
        If it is no run's folder, or a file of it is damaged.
    """
    run, checked = read_description(folder)
    results, cost, events = (folder / name for name in FILES[1:])
    if checked and results.exists():
        _mapping(results)
        check_files(folder, str(run.get("run")))
    told = _mapping(results) if results.exists() else None
    if told is not None and told.get("privacy") is not None:
        check_told(PrivacyTold, told["privacy"], results)
    spent = _mapping(cost) if cost.exists() else None
    if spent is not None:
        check_told(CostTold, spent, cost)
    happened = read_events(events) if events.exists() else []
    check_events(happened, events)
    clients = [str(client["id"]) for client in (run.get("config") or {}).get("clients") or []]
    outcomes = {} if told is None else read_outcomes(folder, run, clients)
    return RunRecord(
        folder=folder,
        run=run,
        events=happened,
        rows=None if told is None else checked_rows(told, results),
        cost=spent,
        privacy=None if told is None else told.get("privacy"),
        checked=checked,
        outcomes=outcomes,
    )


def read_results(folder: Path) -> dict[str, Any]:
    """Read what results.json of a finished run holds, and no more of its folder than tells whether that is whole.

    Raises
    ------
    UserError
        If it is no run's folder, the run is not finished, or the file is damaged.
    """
    run, checked = read_description(folder)
    path = folder / "results.json"
    if not path.exists():
        raise UserError(f"{folder}: the run is not finished; go on with it: the command that began it, and --resume")
    told = dict(read_listed(folder, str(run["run"]), path.name) if checked else _mapping(path))
    checked_rows(told, path)
    return told


def read_description(folder: Path) -> tuple[Mapping[str, Any], bool]:
    """Return what run.json says, and whether it holds a digest; what else is in the folder is not read.

    Raises
    ------
    UserError
        If it is no run's folder, its files lead out of it, or run.json is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a run made by `fedtap run`")
    for name in FILES:
        if (folder / name).exists() and not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder / name}: is a link that leads out of the run's folder; copy that file here")
    run = _mapping(folder / RECORD)
    checked = "digest" in run
    if checked:
        run = read_record(folder)
    check_told(RunTold, run, folder / RECORD)
    return run, checked


def _mapping(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object; restore it from a copy")
    return value
