"""``fedtap sweep``: one method at several settings, on its own or beside others. What is finished is not run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtap.experiment.provenance import provenance
from fedtap.metrics import primary_metrics
from fedtap.reporting.progress.choice import batch_progress
from fedtap.runtime.errors import RunError
from fedtap.runtime.lock import locked
from fedtap.runtime.overrides import Overrides, axes_lines_of
from fedtap.runtime.storage import write_bytes, write_json
from fedtap.scenario.scenario import Scenario
from fedtap.study.batch import Job, Observer, reports_of
from fedtap.study.comparison import SPLITS
from fedtap.study.families import Entrant, family_rows
from fedtap.study.folder import begin, checked_seeds, failure, prepared, run_all, tell
from fedtap.study.grid import Axis, axes_of, method_settings, point_name, points, scenario_at
from fedtap.study.outcome import COUNTED, MEASURED, Gathered, cost_rows, gather
from fedtap.study.statistics import Run, client_task_gains, summarise_gains
from fedtap.study.sweep_result import SweepResult
from fedtap.study.variants import Variant, split_list, variant

SCHEMA = 1
RECORD = "sweep-settings.json"


@dataclasses.dataclass(frozen=True, slots=True)
class GridPoint:
    """A method at a setting.

    ``key`` is what it is called, ``name`` what its runs are called; ``series`` is the line that it is on: a method's label and
    the values of all swept settings but the first. ``settings`` are the swept settings that it has: a method set beside the
    swept one has only those of the scenario. ``base`` is the place that its gains are over.
    """

    key: str
    name: str
    series: str
    variant: Variant
    settings: dict[str, str]
    base: str | None = None


def sweep(
    scenario: str | Path,
    settings: Overrides,
    *,
    out: str | Path,
    method: str | None = None,
    seeds: Sequence[int] = (0,),
    vs: str | Sequence[str] = (),
    base: str | None = None,
    jobs: int | None = None,
    device: str = "auto",
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
) -> SweepResult:
    """Run a method at every combination of settings and return what comes out.

    Parameters
    ----------
    scenario
        A YAML file.
    settings
        ``{"method.margin": [0.01, 0.1], "rounds": 5}``: a list for what is swept, one value for what is changed at all points;
        or the same as ``["method.margin=0.01,0.1", "rounds=5"]``. ``clients`` is a number of participating clients: their
        kinds repeat, and all together keep the same amount of data.
    out
        The folder: ``runs/<setting>-seed<seed>``, sweep.json, sweep.html, sweep.md, figures/, costs.json.
    method
        A label, as in :func:`fedtap.compare`; by default the scenario's method.
    seeds
        Each setting is run with each.
    vs
        Labels of methods to set beside it. A swept parameter of the method is not applied to them: where nothing else is swept
        they are horizontal lines, else further lines.
    base
        A label that gains are relative to, at the same setting. By default gains are relative to the first value of the
        first swept setting, where the clients are the same.
    jobs, device, observers, progress
        As for :func:`fedtap.compare`.

    Returns
    -------
    SweepResult
        A dictionary of what sweep.json holds, which has tables, figures and the runs as attributes.

    Raises
    ------
    UserError
        If anything given is wrong, or ``out`` holds another sweep; nothing is run then.
    RunError
        If runs failed; it names them. What is complete is written nevertheless.
    """
    axes, fixed = axes_of(axes_lines_of(settings))
    others = split_list(vs) if isinstance(vs, str) else list(vs)
    places = _places(scenario, axes, fixed, method, [label for label in others if label], base)
    folder = Path(out)
    plan = {
        place.key: [
            Job(name, place.variant.scenario, seed, folder / "runs" / name)
            for seed in checked_seeds(seeds)
            for name in [f"{place.name}-seed{seed}"]
        ]
        for place in places
    }
    everything = [job for its in plan.values() for job in its]
    first = places[0].variant.scenario
    about = {"schema": SCHEMA, "scenario": first.name}
    with locked(folder), batch_progress(progress) as shown:
        observers = (*observers, *shown)
        begin(folder, RECORD, about, everything, device=device, at_a_time=jobs)
        tell(observers, f"{len(places)} settings, seeds {', '.join(map(str, checked_seeds(seeds)))}")
        failed = run_all(folder, RECORD, everything, at_a_time=jobs, device=device, observers=observers)
        result = _write(folder, first, axes, fixed, places, gather(plan, failed), base, reports_of(plan))
    if failed:
        raise RunError(failure(failed, len(everything), "sweep.html" if result else ""))
    return SweepResult(folder, result)


def _places(
    path: str | Path,
    axes: Sequence[Axis],
    fixed: Sequence[str],
    method: str | None,
    vs: Sequence[str],
    base: str | None,
) -> list[GridPoint]:
    """Return every method at every setting, each once: where only parameters of the method differ, the others stay the same."""
    made: dict[str, GridPoint] = {}
    bases: dict[str, GridPoint] = {}
    for point in points(axes):
        shared = prepared(scenario_at(path, fixed, axes, point), ())
        outer = {axis.key: point[axis.key] for axis in axes if not axis.of_method}
        behind = None
        if base is not None:
            at_base = _place(shared, base, outer, (), axes, place="--base")
            behind = bases.setdefault(at_base.key, at_base).key
        label = method or str(shared.method.get("name", "tap"))
        mine = _place(shared, label, point, method_settings(axes, point), axes, place="--method")
        made[mine.key] = dataclasses.replace(mine, base=behind)
        for other in vs:
            beside = _place(shared, other, outer, (), axes, place="--vs")
            made.setdefault(beside.key, dataclasses.replace(beside, base=behind))
    return [*made.values(), *(place for key, place in bases.items() if key not in made)]


def _place(
    scenario: Scenario,
    label: str,
    settings: Mapping[str, str],
    overrides: Sequence[str],
    axes: Sequence[Axis],
    *,
    place: str,
) -> GridPoint:
    made = variant(scenario, label, place=place, overrides=overrides)
    label = made.label
    rest = [f"{key}={value}" for key, value in settings.items() if key != axes[0].key]
    key = ", ".join([label, *(f"{key}={value}" for key, value in settings.items())])
    return GridPoint(key, point_name(label, settings), ", ".join([label, *rest]), made, dict(settings))


def _write(
    folder: Path,
    scenario: Scenario,
    axes: Sequence[Axis],
    fixed: Sequence[str],
    places: Sequence[GridPoint],
    gathered: Gathered,
    base: str | None,
    reports: Mapping[str, Mapping[int, str]],
) -> dict[str, Any]:
    """Write what is complete; nothing if nothing is."""
    complete = [place for place in places if place.key in gathered.labels]
    if not complete:
        return {}
    counted = {row["method"]: row for row in cost_rows(gathered, COUNTED)}
    measured = {row["method"]: row for row in cost_rows(gathered, (*COUNTED, *MEASURED))}
    config = scenario.resolved()
    result = {
        "schema": SCHEMA,
        **provenance(),
        "scenario": scenario.name,
        "config": config,
        "fixed": list(fixed),
        "axes": [{"key": axis.key, "values": list(axis.values)} for axis in axes],
        "base": base,
        "seeds": sorted({run.seed for run in gathered.runs}),
        "incomplete": [{"setting": key, "why": why} for key, why in gathered.incomplete.items()],
        "points": [
            {
                "setting": place.key,
                "series": place.series,
                "settings": place.settings,
                "clients": len(place.variant.scenario.participants),
                "splits": _splits(place, complete, gathered.runs, axes),
                "costs": {key: counted[place.key][key] for key in COUNTED},
            }
            for place in complete
        ],
    }
    costs = list(measured.values())
    write_json(folder / "sweep.json", result)
    write_json(folder / "costs.json", {"schema": SCHEMA, "rows": costs})
    from fedtap.reporting.html.figure_files import write_figures
    from fedtap.reporting.sweep.page import sweep_markdown, sweep_page

    write_bytes(folder / "sweep.md", sweep_markdown(result, costs).encode())
    shown = sweep_page(result, costs, reports)
    write_bytes(folder / "sweep.html", shown.encode())
    write_figures(shown, folder / "figures")
    return result


def _splits(
    place: GridPoint, complete: Sequence[GridPoint], runs: Sequence[Run], axes: Sequence[Axis]
) -> dict[str, Any]:
    """Return per split the families' metrics at a place, and the mean gain over what it is measured by, if there is such."""
    primary = primary_metrics(pair for client in place.variant.scenario.clients for pair in client.pairs)
    deployed = {each.key: each.variant.algorithm.deployed for each in complete}
    reference = _reference(place, complete, axes)
    found: dict[str, Any] = {}
    for split in SPLITS:
        rows = family_rows(runs, [Entrant(place.key, deployed[place.key])], split=split, primary=primary)
        if not rows:
            continue
        gain: dict[str, Any] | None = None
        if reference is not None:
            other = next(each for each in complete if each.key == reference)
            among = place.variant.served() & other.variant.served()
            gains = client_task_gains(
                runs, place.key, base=reference, split=split, deployed=deployed, primary=primary, among=among
            )
            gain = {**summarise_gains(place.key, gains), "over": reference}
        found[split] = {"rows": [row for row in rows if row["primary"]], "gain": gain}
    return found


def _reference(place: GridPoint, complete: Sequence[GridPoint], axes: Sequence[Axis]) -> str | None:
    """Return what a place's gains are over: the base at its setting, else the first of the swept method's settings."""
    keys = [each.key for each in complete]
    if place.base is not None or any(each.base for each in complete):
        return place.base if place.base in keys else None
    first = complete[0]
    start = {axis.key: axis.values[0] for axis in axes}
    same_clients = first.variant.scenario.clients == place.variant.scenario.clients
    return first.key if first.settings == start and same_clients else None
