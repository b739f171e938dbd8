"""Result rows gathered into what a reader compares: per client and task, and per family, each model's primary metric.

Pure: rows in, numbers out. How they look is left to the report and the command line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fedtap.metrics.table import HIGHER_IS_BETTER, primary
from fedtap.pairs import Pair
from fedtap.reporting.run.record import pairs_of

BASELINES = ("majority", "base_rates", "mean_picture", "mean_value", "median_value", "unigram", "question_only")
"""Models that learn nothing from the input (or, ``question_only``, nothing from the picture)."""

ORDER = ("local", "federated", "finetuned", "personal", "probe")


@dataclass(frozen=True, slots=True)
class Standing:
    """The primary metric of every model for one task of one client.

    ``values`` are the trained models', ``baselines`` the trivial ones'; ``n`` is the number of things averaged over.
    """

    client: str
    task: str
    family: str
    metric: str
    n: int
    values: Mapping[str, float]
    baselines: Mapping[str, float]

    @property
    def best(self) -> frozenset[str]:
        """The trained models whose value is the best; several where they tie."""
        return best_of(self.values, self.metric)

    @property
    def baseline(self) -> tuple[str, float] | None:
        """The strongest trivial baseline."""
        if not self.baselines:
            return None
        name = min(best_of(self.baselines, self.metric))
        return name, self.baselines[name]


@dataclass(frozen=True, slots=True)
class FamilyStanding:
    """Means of the primary metric over the client-tasks of one family that share it."""

    family: str
    metric: str
    client_tasks: int
    values: Mapping[str, float]
    baseline: float | None

    @property
    def best(self) -> frozenset[str]:
        """The trained models whose mean is the best."""
        return best_of(self.values, self.metric)


def better(metric: str, a: float, b: float) -> bool:
    """Tell whether ``a`` is better than ``b``; unknown metrics are taken as higher is better."""
    return a > b if HIGHER_IS_BETTER.get(metric, True) else a < b


def best_of(values: Mapping[str, float], metric: str) -> frozenset[str]:
    """Return the names whose value none other beats."""
    return frozenset(
        name for name, value in values.items() if not any(better(metric, other, value) for other in values.values())
    )


def model_order(names: Iterable[str]) -> list[str]:
    """Return model names, known ones first in the order in which they come to be."""
    return sorted(set(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def standings(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any], split: str = "test") -> list[Standing]:
    """Return one standing per client and task of a split, in the scenario's order.

    Rows of other metrics than the task's primary one, and rows without a number, are left out.
    """
    pairs = pairs_of(config)
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        pair = pairs.get((row["client"], row["task"])) or _task_of_any(pairs, row["task"])
        if row["split"] == split and row["value"] is not None and pair and row["metric"] == _primary(pair):
            grouped[row["client"], row["task"]].append(row)
    place = {key: number for number, key in enumerate(pairs)}
    ordered = sorted(grouped, key=lambda key: (place.get(key, len(place)), key))
    return [_standing(key, grouped[key]) for key in ordered]


def family_standings(table: Iterable[Standing]) -> list[FamilyStanding]:
    """Return the means per family and metric; a model's mean is given only where it has all the family's client-tasks.

    A mean over fewer would compare different tasks.
    """
    grouped: dict[tuple[str, str], list[Standing]] = defaultdict(list)
    for standing in table:
        grouped[standing.family, standing.metric].append(standing)
    result = []
    for (family, metric), members in sorted(grouped.items()):
        names = model_order(name for member in members for name in member.values)
        baselines = [member.baseline for member in members]
        known = [baseline[1] for baseline in baselines if baseline is not None]
        result.append(
            FamilyStanding(
                family=family,
                metric=metric,
                client_tasks=len(members),
                values={
                    name: fmean(member.values[name] for member in members)
                    for name in names
                    if all(name in member.values for member in members)
                },
                baseline=fmean(known) if len(known) == len(members) else None,
            )
        )
    return result


def _standing(key: tuple[str, str], rows: Sequence[Mapping[str, Any]]) -> Standing:
    values = {row["model"]: float(row["value"]) for row in rows}
    models = model_order(name for name in values if name not in BASELINES)
    return Standing(
        client=key[0],
        task=key[1],
        family=str(rows[0].get("family", "")),
        metric=rows[0]["metric"],
        n=max(int(row.get("n") or 0) for row in rows),
        values={name: values[name] for name in models},
        baselines={name: value for name, value in values.items() if name in BASELINES},
    )


def _primary(pair: Pair) -> str:
    return primary(pair.type, pair.modality)


def _task_of_any(pairs: Mapping[tuple[str, str], Pair], task: str) -> Pair | None:
    """Return the pair of a task that this client lacks (cross-client rows) from whichever client has it."""
    return next((pair for (_, name), pair in pairs.items() if name == task), None)
