"""``fedtap study regimes``: do what the design asks for, set methods against each other point by point, write the page.

What is finished is not done again; points, methods and seeds may be added to a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedtap.data.dials.conflict import exchanged
from fedtap.experiment.provenance import provenance
from fedtap.metrics import primary_metrics
from fedtap.runtime.errors import RunError, UserError, nearest
from fedtap.runtime.lock import locked
from fedtap.runtime.storage import write_bytes, write_json
from fedtap.study.batch import Job, Observer
from fedtap.study.folder import begin, checked_seeds, failure, run_all, tell
from fedtap.study.outcome import COUNTED, cost_rows, gather
from fedtap.study.regimes.design import (
    BASE,
    CONFLICTS,
    EXAMPLES,
    FINETUNED,
    FULL,
    METHODS,
    POINTS,
    QUICK,
    SINGLE,
    Point,
    Size,
    chosen,
    federation,
)
from fedtap.study.regimes.effects import FEDERATED, Gains, Ran, gains_of, over_points, point_rows, with_holm
from fedtap.study.regimes.toy import toy_map
from fedtap.study.variants import Variant, file_name, variants

SCHEMA = 1
RECORD = "regimes-settings.json"
NETWORKS = ("experts", "plain")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A point with one network: its methods, and the runs of each."""

    point: Point
    variants: Sequence[Variant]
    jobs: Mapping[str, Sequence[Job]]


def study_regimes(
    *,
    out: str | Path,
    points: Sequence[str] = ("points", "map"),
    methods: Sequence[str] = METHODS,
    network: str = "plain",
    conflicts: Sequence[float] = CONFLICTS,
    examples: Sequence[int] = EXAMPLES,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    quick: bool = False,
    jobs: int | None = None,
    device: str = "auto",
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Do a study of regimes and return what regimes.json holds.

    Parameters
    ----------
    out
        The folder: ``runs/``, regimes.json, regimes.html, regimes.md, figures/.
    points
        ``points`` (the eight), ``map`` (every combination of ``conflicts`` and ``examples``), or names of either.
    methods
        Labels, as in :func:`fedtap.compare`. ``local`` and ``fedavg_ft`` are added where they are missing.
    network
        ``plain``, which takes half the time, or ``experts``.
    conflicts, examples
        The two axes of the map: shares of clients in conflict, and training examples a task.
    seeds
        All is done with each; all runs of a seed come before those of the next, so that a study that is cut off has whole seeds.
    quick
        A size that shows that everything works, in a minute, and nothing else.
    jobs, device, observers
        As for :func:`fedtap.compare`.

    Raises
    ------
    UserError
        If anything given is wrong, or ``out`` holds something else; nothing is run then.
    RunError
        If runs failed; it names them. What is complete is written nevertheless.
    """
    if network not in NETWORKS:
        raise UserError(f"--network {network}: unknown; {nearest(network, NETWORKS)}")
    places = chosen(points, _checked(conflicts, "--conflicts", 0, 1), _checked(examples, "--examples", 4, 96))
    labels = list(dict.fromkeys([BASE, FINETUNED, *methods]))
    seeds, size, folder = checked_seeds(seeds), QUICK if quick else FULL, Path(out)
    entries = [_entry(point, network, size, labels, seeds, folder) for point in places]
    everything = [job for entry in entries for its in entry.jobs.values() for job in its]
    with locked(folder):
        about = {"schema": SCHEMA, "size": repr(size), "network": network}
        begin(folder, RECORD, about, everything, device=device, at_a_time=jobs)
        tell(
            observers, f"{len(everything)} runs: {len(entries)} federations, {len(labels)} methods, {len(seeds)} seeds"
        )
        failed = run_all(folder, RECORD, everything, at_a_time=jobs, device=device, observers=observers)
        result = {
            "schema": SCHEMA,
            **provenance(),
            "size": asdict(size),
            "quick": quick,
            "network": network,
            "seeds": seeds,
            "methods": [variant.label for variant in entries[0].variants],
            **_said(entries, seeds, failed),
            "toy": toy_map(seeds=2) if quick else toy_map(),
        }
        _write(folder, result)
    if failed:
        raise RunError(failure(failed, len(everything), "regimes.html"))
    return result


def _checked(values: Sequence[float], option: str, low: float, high: float) -> list[Any]:
    for value in values:
        if not low <= value <= high:
            raise UserError(f"{option} {value:g}: give numbers from {low:g} to {high:g}")
    if not values:
        raise UserError(f"{option}: give one number at least")
    return sorted(set(values))


def _entry(point: Point, network: str, size: Size, labels: Sequence[str], seeds: Sequence[int], folder: Path) -> _Entry:
    scenario = federation(point, network, size)
    entered = variants(scenario, labels)
    return _Entry(
        point,
        entered,
        {
            entry.label: [
                Job(name, entry.scenario, seed, folder / "runs" / name)
                for seed in seeds
                for name in [f"{point.name}-{file_name(entry.label)}-seed{seed}"]
            ]
            for entry in entered
        },
    )


def _said(entries: Sequence[_Entry], seeds: Sequence[int], failed: Mapping[str, str]) -> dict[str, Any]:
    """Return what the complete points say; a point counts with the methods that have all their runs."""
    told, incomplete = [], []
    rows: dict[str, list[dict[str, Any]]] = {}
    counted: dict[str, Gains] = {}
    for entry in entries:
        gathered = gather(entry.jobs, failed)
        incomplete += [
            {"point": entry.point.name, "method": label, "why": why} for label, why in gathered.incomplete.items()
        ]
        if not {BASE, FINETUNED} <= set(gathered.labels):
            continue
        scenario = entry.variants[0].scenario
        ran = Ran(
            entry.point.name,
            gathered.runs,
            {each.label: each.algorithm.deployed for each in entry.variants if each.label in gathered.labels},
            primary_metrics(pair for client in scenario.clients for pair in client.pairs),
            frozenset((seed, *place) for seed in seeds for place in exchanged(scenario, seed))
            if entry.point.liars
            else frozenset(),
        )
        gains = gains_of(ran)
        counted[entry.point.name] = gains
        rows[entry.point.name] = point_rows(gains, [label for label in gains if label != FEDERATED])
        told.append(
            {
                "point": entry.point.name,
                "about": entry.point.about,
                "conflict": entry.point.conflict,
                "examples": entry.point.examples,
                "cell": entry.point.is_cell,
                "clients": len({gain.client for gain in gains[BASE]}),
                "client_tasks": len({(gain.client, gain.task) for gain in gains[BASE]}),
                "rows": rows[entry.point.name],
                "costs": cost_rows(gathered, COUNTED),
            }
        )
    with_holm(rows)
    eight = {point.name for point in POINTS}
    counting = {name: gains for name, gains in counted.items() if name in eight} or counted
    return {
        "points": told,
        "counted": list(counting),
        "over": over_points(counting, SINGLE),
        "incomplete": incomplete,
    }


def _write(folder: Path, result: dict[str, Any]) -> None:
    from fedtap.reporting.html.figure_files import write_figures
    from fedtap.reporting.regimes.page import regimes_markdown, regimes_page

    write_json(folder / "regimes.json", result)
    write_bytes(folder / "regimes.md", regimes_markdown(result).encode())
    shown = regimes_page(result)
    write_bytes(folder / "regimes.html", shown.encode())
    write_figures(shown, folder / "figures")
