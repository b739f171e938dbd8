"""A run's folder, read into memory: what it was (run.json), what happened (events.jsonl), what came out (results.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtap.pairs import Pair
from fedtap.reporting.events import read_events
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import check_files, read_record
from fedtap.runtime.storage import read_json

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
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a run made by `fedtap run`")
    run = _mapping(folder / "run.json")
    if "digest" in run:  # a run made before there were digests is shown as it is
        run = read_record(folder)
        if (folder / "results.json").exists():
            _mapping(folder / "results.json")
            check_files(folder, str(run.get("run")))
    events = folder / "events.jsonl"
    results, cost = folder / "results.json", folder / "cost.json"
    return RunRecord(
        folder=folder,
        run=run,
        events=read_events(events) if events.exists() else [],
        rows=_rows(results) if results.exists() else None,
        cost=_mapping(cost) if cost.exists() else None,
        privacy=_mapping(results).get("privacy") if results.exists() else None,
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object; restore it from a copy")
    return value


def _rows(path: Path) -> Sequence[Row]:
    rows = _mapping(path).get("rows")
    needed = {"client", "task", "model", "split", "metric", "value"}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and needed <= row.keys() for row in rows):
        raise UserError(
            f"{path}: 'rows' must be a list of objects with {', '.join(sorted(needed))}; restore it from a copy"
        )
    return rows
