"""Means of metrics per task family, one for each method, with intervals over clients and seeds. Rows in, rows out.

Not here: relative gains (``statistics.py``) and which method is ahead (``comparison.py``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtap.metrics import HIGHER_IS_BETTER
from fedtap.study.statistics import Row, Run, bootstrap_interval

Place = tuple[int, str, str]
"""(seed, client, task)."""
Group = tuple[str, str, bool]
"""(family, metric, whether the metric is the primary one of the tasks averaged over)."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A method as it enters a comparison.

    Parameters
    ----------
    label
        What it is called there, and what its runs are called.
    deployed
        The model, of those it makes, that it would have a client use.
    serves
        The (client, task) that it can serve; None: all there are.
    """

    label: str
    deployed: str
    serves: Collection[tuple[str, str]] | None = None


def family_rows(
    runs: Sequence[Run], entrants: Sequence[Entrant], *, split: str, primary: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return one row for each family, metric and method: the mean of its deployed model over client-tasks and seeds.

    A method gets a row only where it has every client-task of the family with every seed; a mean over fewer would compare
    different tasks. Where a family's tasks have different primary metrics (answers to questions about pictures, and free
    text), each metric has a row over the tasks that it is primary for, and one over the others.

    Keys: ``method``, ``family``, ``metric``, ``primary``, ``mean``, ``ci95`` (:func:`bootstrap_interval`), ``seeds``,
    ``tasks`` (names), ``client_tasks`` (how many).
    """
    groups: dict[Group, dict[str, dict[Place, float]]] = defaultdict(lambda: defaultdict(dict))
    for entrant in entrants:
        for place, row in _rows_of(runs, entrant.label, entrant.deployed, split):
            group = (row["family"], row["metric"], row["metric"] == primary[row["task"]])
            groups[group][entrant.label][place] = float(row["value"])
    made: list[dict[str, Any]] = []
    for (family, metric, is_primary), by_method in sorted(groups.items(), key=lambda item: _order(item[0])):
        places = set().union(*by_method.values())
        for label, values in by_method.items():
            if values.keys() != places:
                continue
            cells: dict[tuple[int, str], list[float]] = defaultdict(list)
            for (seed, client, _), value in sorted(values.items()):
                cells[seed, client].append(value)
            ci95 = bootstrap_interval(cells)
            made.append(
                {
                    "method": label,
                    "family": family,
                    "metric": metric,
                    "primary": is_primary,
                    "mean": math.fsum(values.values()) / len(values),
                    "ci95": list(ci95) if ci95 else None,
                    "seeds": len({seed for seed, _, _ in places}),
                    "tasks": sorted({task for _, _, task in places}),
                    "client_tasks": len({(client, task) for _, client, task in places}),
                }
            )
    return made


def baseline_rows(
    runs: Sequence[Run], *, base: str, names: Collection[str], split: str, primary: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return per family and primary metric the mean of the strongest trivial baseline of each client-task.

    A family in which a client-task has no baseline has no row. ``base`` is the method whose runs are looked up; the
    baselines of a seed are the same in all methods' runs.
    """
    best: dict[tuple[str, str], dict[Place, float]] = defaultdict(dict)
    needed: dict[tuple[str, str], set[Place]] = defaultdict(set)
    for run in runs:
        if run.method != base:
            continue
        for row in run.rows:
            if row["split"] != split or row["metric"] != primary[row["task"]]:
                continue
            group, place = (row["family"], row["metric"]), (run.seed, row["client"], row["task"])
            needed[group].add(place)
            if row["model"] in names:
                pick = max if HIGHER_IS_BETTER[row["metric"]] else min
                best[group][place] = pick(best[group].get(place, row["value"]), row["value"])
    return [
        {"family": family, "metric": metric, "mean": math.fsum(values.values()) / len(values)}
        for (family, metric), values in sorted(best.items())
        if values.keys() == needed[family, metric]
    ]


def _rows_of(runs: Sequence[Run], label: str, model: str, split: str) -> list[tuple[Place, Row]]:
    return [
        ((run.seed, row["client"], row["task"]), row)
        for run in runs
        if run.method == label
        for row in run.rows
        if row["split"] == split and row["model"] == model
    ]


def _order(group: Group) -> tuple[str, bool, str]:
    family, metric, is_primary = group
    return (family, not is_primary, metric)
