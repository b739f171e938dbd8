"""The folder that the runs of a study share: what may go into it, that they are done there, and what is said of it.

Not here: a run's own folder (``experiment/folder.py``), and how a batch is done (``batch.py``).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fedtap.evaluation.text_metrics import text_metrics
from fedtap.experiment.planning import check
from fedtap.experiment.site import resolve_device
from fedtap.runtime.errors import UserError
from fedtap.runtime.lock import LOCKS
from fedtap.runtime.manifest import read_record
from fedtap.runtime.overrides import Overrides, lines_of
from fedtap.runtime.sealed import Identity, read_sealed_json, write_sealed_json
from fedtap.runtime.storage import clear_scraps, scrap_of
from fedtap.scenario.scenario import Scenario, load_scenario
from fedtap.study.batch import Job, Observer, default_jobs, run_batch

SCHEMA = 1
RUNS = "runs.json"
_MEND_RUNS = (
    "restore it from a copy, or remove it: the runs that are there are then taken for those that were done here"
)


def prepared(scenario: str | Path | Scenario, overrides: Overrides) -> Scenario:
    """Return the scenario that all runs share; models are not saved unless it is asked for."""
    if isinstance(scenario, Scenario):
        if overrides:
            raise UserError("overrides go with a scenario file, not with a scenario that is already loaded")
        loaded = scenario
    else:
        loaded = load_scenario(scenario, overrides)
    check(loaded)
    if any(override.split("=")[0].strip() == "evaluation.save" for override in lines_of(overrides)):
        return loaded
    return loaded.model_copy(update={"evaluation": loaded.evaluation.model_copy(update={"save": "none"})})


def checked_seeds(seeds: Sequence[int]) -> list[int]:
    """Return the seeds, each once; raises :class:`UserError` if there are none."""
    if not seeds:
        raise UserError("--seeds: give one seed at least, for example --seeds 0,1,2")
    return list(dict.fromkeys(seeds))


def describe(scenario: Scenario) -> dict[str, Any]:
    """Return what tells one comparison's folder from another's: the scenario, but for the method."""
    config = scenario.resolved()
    del config["method"]
    return {"schema": SCHEMA, "scenario": scenario.name, "config": config}


def begin(
    folder: Path,
    record: str,
    description: Mapping[str, Any],
    jobs: Sequence[Job],
    *,
    device: str,
    at_a_time: int | None,
) -> None:
    """Check that the folder is new or holds runs of this very kind, then write down which, if it is new; call it under its lock.

    Raises
    ------
    UserError
        If it is not, the device or the number of jobs is wrong, or what a metric of text needs is missing.
    """
    if at_a_time is not None and at_a_time < 1:
        raise UserError(f"--jobs {at_a_time}: at least one process is needed")
    resolve_device(device)
    place = folder / record
    what = {"what": place.stem}
    if place.exists():
        old = read_sealed_json(place, what)
        for key, value in description.items():
            if old.get(key) != value:
                inner = _difference(old.get(key), value)
                raise UserError(
                    f"{place}: holds runs with another {key}{inner}; give that one's settings, or another --out"
                )
    elif folder.exists() and any(path.name not in LOCKS and scrap_of(path) != record for path in folder.iterdir()):
        raise UserError(f"{folder}: is not empty and holds no {Path(record).stem}; give another --out")
    for job in jobs:
        job.check(device)
    asked = {job.scenario.evaluation: job.scenario for job in jobs if not job.finished()}
    for scenario in asked.values():
        text_metrics(scenario, torch.device("cpu"))  # what they lack is told here, and not by every run
    clear_scraps(folder, apart=frozenset({"runs"}))  # each run clears its own, under its own lock
    if not place.exists():
        write_sealed_json(place, {**description, "study": uuid.uuid4().hex}, what)
    check_runs(folder, record, jobs)


def check_runs(folder: Path, record: str, jobs: Sequence[Job]) -> None:
    """Check that finished runs are those that were done here; one that is not finished any more is forgotten, and done again.

    Raises
    ------
    UserError
        If another run lies in the place of one: its settings may be the same, and where it comes from nobody knows.
    """
    noted = _noted(folder, record)
    kept = {job.name: noted[job.name] for job in jobs if job.name in noted and job.finished()}
    for job in jobs:
        if job.name in kept and (found := str(read_record(job.out)["run"])) != kept[job.name]:
            raise UserError(
                f"{job.out}: holds the run {found[:8]}, and the one that was done here is {kept[job.name][:8]}; put that one "
                f"back, or remove {job.out} to have it done again"
            )
    others = {name: run for name, run in noted.items() if name not in {job.name for job in jobs}}
    if noted != {**others, **kept}:
        _note(folder, record, {**others, **kept})


def run_all(
    folder: Path,
    record: str,
    jobs: Sequence[Job],
    *,
    at_a_time: int | None,
    device: str,
    observers: Sequence[Observer],
) -> dict[str, str]:
    """Do a study's runs, all of a seed before those of the next, note which are finished, and return why others failed, by name.

    ``at_a_time`` is one for each core unless it is given; the rest is as for :func:`fedtap.study.batch.run_batch`.
    """
    failed = run_batch(
        sorted(jobs, key=lambda job: job.seed),
        at_a_time=at_a_time or default_jobs(len(jobs)),
        logs=folder / "logs",
        device=device,
        observers=observers,
    )
    note_runs(folder, record, jobs)
    return failed


def note_runs(folder: Path, record: str, jobs: Sequence[Job]) -> None:
    """Write down which runs are finished, by the ids that their own files carry."""
    noted = _noted(folder, record)
    found = {job.name: str(read_record(job.out)["run"]) for job in jobs if job.finished()}
    if noted != {**noted, **found}:
        _note(folder, record, {**noted, **found})


def _noted(folder: Path, record: str) -> dict[str, str]:
    path = folder / RUNS
    if not path.exists():
        return {}
    noted = read_sealed_json(path, _of_runs(folder, record), _MEND_RUNS).get("runs")
    if not isinstance(noted, dict) or not all(isinstance(run, str) for run in noted.values()):
        raise UserError(f"{path}: 'runs' must be ids by name; {_MEND_RUNS}")
    return noted


def _note(folder: Path, record: str, noted: Mapping[str, str]) -> None:
    write_sealed_json(folder / RUNS, {"runs": dict(sorted(noted.items()))}, _of_runs(folder, record))


def _of_runs(folder: Path, record: str) -> Identity:
    """Return what the list of runs says of itself: whose it is, by the id in the study's record, if that has one."""
    study = str(read_sealed_json(folder / record, {"what": Path(record).stem}).get("study", ""))
    return {"what": f"runs of a {Path(record).stem}", "study": study}


def _difference(old: Any, new: Any) -> str:
    """Return the first key at which two mappings differ, with a dot before it."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return ""
    key = next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))
    return f".{key}{_difference(old.get(key), new.get(key))}"


def tell(observers: Sequence[Observer], text: str) -> None:
    """Tell observers a note."""
    for observer in observers:
        observer({"event": "note", "text": text})


def failure(failed: Mapping[str, str], total: int, page: str) -> str:
    """Return a line on the runs that failed."""
    first = next(iter(failed))
    names = ", ".join(failed)
    left = f"{page} is over the methods that have all their runs" if page else "too little is left to compare"
    return (
        f"{len(failed)} of {total} runs failed ({names}), the first since: {failed[first]}; {left}. "
        "The same command tries them again"
    )
