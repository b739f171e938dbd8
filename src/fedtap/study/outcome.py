"""What finished runs left, gathered for comparisons: results, costs, and which methods have all their runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtap.reporting.run.told import WholeCostTold, check_told, checked_rows
from fedtap.runtime.manifest import read_listed, read_record
from fedtap.study.batch import Job
from fedtap.study.statistics import Run

Places = frozenset[tuple[str, str]]
"""Pairs of (client, task)."""
COUNTED = ("steps_total", "bytes_down", "bytes_up")
"""What of a run's cost is the same whenever it is run."""
MEASURED = ("seconds", "peak_rss_bytes")


@dataclass(frozen=True, slots=True)
class Gathered:
    """The runs that a comparison may use.

    Attributes
    ----------
    runs
        Of every method that is complete.
    incomplete
        Why each other method is left out.
    """

    runs: list[Run]
    costs: dict[str, list[Mapping[str, Any]]]
    incomplete: dict[str, str]

    @property
    def labels(self) -> list[str]:
        """The methods that are complete, in order."""
        return list(self.costs)

    def drop(self, label: str, why: str) -> None:
        """Leave a method out."""
        self.runs[:] = [run for run in self.runs if run.method != label]
        del self.costs[label]
        self.incomplete[label] = why

    def drop_silent(self, base: str, deployed: Mapping[str, str], served: Mapping[str, Places]) -> None:
        """Leave out, and say why, methods without a result where the base has one and they should: a client's answer was lost.

        A method must not look better for being silent about the clients where it failed.
        """
        wanted = self._places(base, deployed[base])
        for label in self.labels:
            mine = self._places(label, deployed[label])
            lacking = [place for place in sorted(wanted - mine) if place[1:3] in served[label]]
            if not served[label]:
                self.drop(label, "it can serve none of the tasks")
            elif lacking:
                seed, client, task, split = lacking[0]
                self.drop(label, f"seed {seed}: no result for client '{client}', task '{task}', split '{split}'")

    def _places(self, label: str, model: str) -> set[tuple[int, str, str, str]]:
        return {
            (run.seed, row["client"], row["task"], row["split"])
            for run in self.runs
            if run.method == label
            for row in run.rows
            if row["model"] == model
        }


def gather(jobs: Mapping[str, Sequence[Job]], failed: Mapping[str, str]) -> Gathered:
    """Read the runs of each label; a label with a run that failed is left out, so that all are compared on the same seeds."""
    found = Gathered([], {}, {})
    for label, its in jobs.items():
        lacking = [job for job in its if not job.finished()]
        if lacking:
            seeds = ", ".join(str(job.seed) for job in lacking)
            found.incomplete[label] = f"seed {seeds}: {failed.get(lacking[0].name, 'not run')}"
            continue
        rows = {job.seed: checked_rows(_read(job, "results.json"), job.out / "results.json") for job in its}
        wrong = _not_finite(rows)
        if wrong:
            found.incomplete[label] = wrong
            continue
        found.costs[label] = [_cost(job) for job in its]
        found.runs.extend(Run(label, job.seed, rows[job.seed]) for job in its)
    return found


def cost_rows(gathered: Gathered, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the mean cost of each method over its runs."""
    return [
        {"method": label, **{key: math.fsum(cost[key] for cost in costs) / len(costs) for key in keys}}
        for label, costs in gathered.costs.items()
    ]


def _read(job: Job, name: str) -> Any:
    """Return what a file of a finished run holds, if it is what the run left."""
    return read_listed(job.out, str(read_record(job.out)["run"]), name)


def _cost(job: Job) -> Mapping[str, Any]:
    cost = _read(job, "cost.json")
    check_told(WholeCostTold, cost, job.out / "cost.json")
    found: Mapping[str, Any] = cost
    return found


def _not_finite(rows: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    """Return where a result is no finite number, or nothing: a mean over the others would flatter a method that diverged."""
    for seed, found in rows.items():
        for row in found:
            if row["value"] is None or not math.isfinite(row["value"]):
                return (
                    f"seed {seed}: {row['metric']} of client '{row['client']}', task '{row['task']}' is {row['value']}"
                )
    return ""
