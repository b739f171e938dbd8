r"""What the runs of the study say together: each method against those a user could take instead, point by point and over all.

All numbers are *points* over ``local``, client-task by client-task and seed by seed (:func:`points`), and differences of them
(study/paired.py). The *better single* of a point is whichever of ``local`` and ``fedavg_ft`` has the higher mean gain
there: it is chosen after the runs, in favour of the rival. Over several points every point counts alike, whatever the number of
its client-tasks. Not here: the design (design.py). Pure: rows in, numbers out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedtap.metrics import HIGHER_IS_BETTER, RANGES
from fedtap.study.paired import Paired, compare_pair, difference_cells, holm, two_way_p
from fedtap.study.regimes.design import BASE, FINETUNED
from fedtap.study.statistics import Gain, Run, bootstrap_interval, client_task_gains, mean_percent

FEDERATED = "federated"
BETTER = "better single"
Gains = Mapping[str, Sequence[Gain]]
"""Label -> its gains over the base, in points."""
Place = tuple[int, str, str]
"""(seed, client, task)."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A point's runs: every label with the same seeds; ``deployed`` says which model of each counts, ``without`` what not."""

    name: str
    runs: Sequence[Run]
    deployed: Mapping[str, str]
    primary: Mapping[str, str]
    without: Collection[Place] = ()


def gains_of(ran: Ran) -> dict[str, list[Gain]]:
    """Return each label's points over local training on own test data, and as ``federated`` those of the model that was averaged.

    The averaged model is that of ``fedavg_ft``, before its fine-tuning, where that was run.
    """
    runs, deployed = list(ran.runs), dict(ran.deployed)
    if FINETUNED in deployed:
        runs += [Run(FEDERATED, run.seed, run.rows) for run in ran.runs if run.method == FINETUNED]
        deployed[FEDERATED] = FEDERATED
    found = {}
    for label in deployed:
        gains = client_task_gains(runs, label, base=BASE, deployed=deployed, primary=ran.primary)
        found[label] = [points(gain) for gain in gains if (gain.seed, gain.client, gain.task) not in ran.without]
    return found


def points(gain: Gain) -> Gain:
    """Return a gain in points in the place of its percentage.

    Of a share (accuracy, exact match) that is the plain difference, times 100: with few examples local training is near chance on
    some tasks, and a percentage of next to nothing would outweigh all others. Of a loss it is the relative gain, in percent.
    """
    share = HIGHER_IS_BETTER[gain.metric] and RANGES[gain.metric] == (0.0, 1.0)
    return replace(gain, percent=100 * (gain.value - gain.base)) if share else gain


def point_rows(gains: Gains, others: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each label at one point.

    Keys: ``method``; ``gain`` over local with ``ci95``; ``behind``, for each of ``others`` and for :data:`BETTER` the difference,
    its interval and p; ``hurt``, the share of clients, each averaged over its tasks and seeds, that are worse off than with
    ``local`` and with the federated model.
    """
    better = max(
        (label for label in (BASE, FINETUNED) if label in gains), key=lambda label: mean_percent(gains[label]) or 0.0
    )
    rows = []
    for label, mine in gains.items():
        rivals = {**{other: other for other in others if other in gains}, BETTER: better}
        rows.append(
            {
                "method": label,
                "gain": mean_percent(mine),
                "ci95": _listed(bootstrap_interval(_cells(mine))),
                "better": better,
                "against": {
                    name: told(compare_pair(mine, gains[rival])) for name, rival in rivals.items() if rival != label
                },
                "hurt": {
                    rival: hurt(mine, gains[rival]) for rival in (BASE, FEDERATED) if rival in gains and rival != label
                },
            }
        )
    return rows


def with_holm(points: Mapping[str, list[dict[str, Any]]]) -> None:
    """Add ``p_holm`` to each difference: Holm's correction over the points, for each method and rival apart."""
    families: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for rows in points.values():
        for row in rows:
            for rival, test in row["against"].items():
                families[row["method"], rival].append(test)
    for tests in families.values():
        for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
            test["p_holm"] = adjusted


def over_points(points: Mapping[str, Gains], others: Sequence[str]) -> list[dict[str, Any]]:
    """Return each label that is everywhere against each rival, averaged over the points, every point counting alike.

    Keys: ``method``, ``against``, ``difference``, ``ci95``, ``p``, ``worst`` and ``worst_at``, the lowest of the points' means.
    Seeds are the same at all points and are resampled as a whole; clients of different points are different clients.
    """
    labels = [label for label in next(iter(points.values()), {}) if all(label in gains for gains in points.values())]
    rows = []
    for label in labels:
        for rival in others:
            if rival == label or rival not in labels:
                continue
            cells: dict[tuple[int, str], Sequence[float]] = {}
            means = {}
            sizes = {}
            for name, gains in points.items():
                differences = difference_cells(gains[label], gains[rival])
                values = [value for cell in differences.values() for value in cell]
                means[name], sizes[name] = math.fsum(values) / len(values), len(values)
                cells |= {(seed, f"{name}/{client}"): cell for (seed, client), cell in differences.items()}
            total = sum(sizes.values())
            weighed = {
                (seed, where): [value * total / (len(sizes) * sizes[where.split("/")[0]]) for value in cell]
                for (seed, where), cell in cells.items()
            }
            worst = min(means, key=lambda name: (means[name], name))
            rows.append(
                {
                    "method": label,
                    "against": rival,
                    "difference": math.fsum(means.values()) / len(means),
                    "ci95": _listed(bootstrap_interval(weighed)),
                    "p": two_way_p(weighed),
                    "worst": means[worst],
                    "worst_at": worst,
                }
            )
    return rows


def hurt(mine: Sequence[Gain], theirs: Sequence[Gain]) -> float:
    """Return the share of clients whose mean difference over tasks and seeds is below 0."""
    by_client: dict[str, list[float]] = defaultdict(list)
    for (_, client), values in difference_cells(mine, theirs).items():
        by_client[client] += values
    return sum(math.fsum(values) < 0 for values in by_client.values()) / len(by_client)


def told(test: Paired) -> dict[str, Any]:
    """Return a paired comparison as plain values."""
    return {
        "difference": test.difference,
        "ci95": _listed(test.ci95),
        "p": test.p,
        "wins": test.wins,
        "losses": test.losses,
        "n": test.n,
    }


def _cells(gains: Sequence[Gain]) -> dict[tuple[int, str], list[float]]:
    cells: dict[tuple[int, str], list[float]] = defaultdict(list)
    for gain in gains:
        if gain.percent is not None:
            cells[gain.seed, gain.client].append(gain.percent)
    return dict(cells)


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return list(interval) if interval else None
