"""``fedtap study pairs``: do what the design asks for, gather the losses, write the page. What is finished is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedtap.experiment.provenance import provenance
from fedtap.reporting.events import read_events
from fedtap.reporting.run.told import checked_rows
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.lock import locked
from fedtap.runtime.manifest import read_listed, read_record
from fedtap.runtime.sealed import Identity, read_sealed_json, write_sealed_json
from fedtap.runtime.storage import write_bytes, write_json
from fedtap.study.batch import Observer
from fedtap.study.folder import begin, checked_seeds, failure, run_all, tell
from fedtap.study.pairs import synthetic
from fedtap.study.pairs.design import (
    FULL,
    KINDS,
    LENGTHS,
    PROBLEMS,
    QUICK,
    SYNTHETIC,
    Size,
    arms,
    checked,
    checked_pairs,
)
from fedtap.study.pairs.effects import Record, summary
from fedtap.study.pairs.scenarios import UNLIKE, RealRun, runs

SCHEMA = 1
RECORD = "pairs-settings.json"
PRIMARY = {"classification": "cross_entropy", "text_generation": "cross_entropy", "reconstruction": "mse"}
"""The test metric that is the training loss, by type of task."""
MODELS = {"test": "federated", "personal": "finetuned"}


def study_pairs(
    *,
    out: str | Path,
    problems: Sequence[str] = PROBLEMS,
    kinds: Sequence[str] = KINDS,
    pairs: Sequence[int] = (1, 2, 4, 8, 16),
    lengths: Sequence[str] = LENGTHS,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    tasks: int = len(UNLIKE),
    quick: bool = False,
    jobs: int | None = None,
    device: str = "auto",
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Do a study of pairs and return what pairs.json holds.

    Parameters
    ----------
    out
        The folder: ``synthetic/`` and ``runs/``, pairs.json, pairs.html, pairs.md, figures/.
    problems
        Of ``synthetic``, ``plain`` and ``experts``: tanh teachers, and real tasks with either network.
    kinds, lengths
        What is asked for of the design (:mod:`fedtap.study.pairs.design`). All three effects need ``T1`` and ``T1/pi``.
    pairs
        Numbers of pairs, 1 among them. There are eight unlike pairs of real tasks; more are of alike ones only.
    seeds
        All is done with each; with three at least, standard errors are over seeds.
    tasks
        How many unlike real tasks are served at every K, the first of the eight; a power of 2.
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
    problems = checked("--problems", problems, PROBLEMS)
    kinds, lengths = checked("--kinds", kinds, KINDS), checked("--lengths", lengths, LENGTHS)
    numbers, seeds = checked_pairs(pairs), checked_seeds(seeds)
    size, folder = QUICK if quick else FULL, Path(out)
    networks = [problem for problem in problems if problem != SYNTHETIC]
    if tasks not in (2, 4, 8):
        raise UserError(f"--tasks {tasks}: give 2, 4 or 8")
    most = {"unlike": tasks, "alike": max(numbers)}
    real = [
        run
        for kind in kinds
        for run in runs(
            networks,
            [kind],
            [number for number in numbers if number <= most[kind]],
            lengths,
            size=size,
            seeds=seeds,
            folder=folder / "runs",
            unlike=tasks,
        )
    ]
    everything = [run.job for run in real]
    with locked(folder):
        begin(folder, RECORD, {"schema": SCHEMA, "size": repr(size)}, everything, device=device, at_a_time=jobs)
        records: dict[str, list[Record]] = {}
        if SYNTHETIC in problems:
            small = [number for number in numbers if number <= size.most]
            records[SYNTHETIC] = list(_synthetic(folder, kinds, small, lengths, size, seeds, observers))
        failed: dict[str, str] = {}
        if real:
            tell(observers, f"{len(real)} runs on real tasks; unlike pairs are {tasks} at the most")
            failed = run_all(folder, RECORD, everything, at_a_time=jobs, device=device, observers=observers)
            for network in networks:
                records[network] = [record for run in real if run.network == network for record in _of_run(run)]
        result = {
            "schema": SCHEMA,
            **provenance(),
            "size": asdict(size),
            "quick": quick,
            "seeds": seeds,
            "pairs": list(numbers),
            "lengths": list(lengths),
            "tasks": tasks,
            "incomplete": [{"run": name, "why": why} for name, why in failed.items()],
            "problems": {problem: summary(found, kinds, numbers, lengths) for problem, found in records.items()},
        }
        _write(folder, result)
    if failed:
        raise RunError(failure(failed, len(everything), "pairs.html"))
    return result


def _synthetic(
    folder: Path,
    kinds: Sequence[str],
    pairs: Sequence[int],
    lengths: Sequence[str],
    size: Size,
    seeds: Sequence[int],
    observers: Sequence[Observer],
) -> Iterator[Record]:
    """Iterate over the records of the synthetic problem; each kind and seed has a file, and each arm is done once."""

    def told(event: dict[str, Any]) -> None:
        for observer in observers:
            observer(event)

    (folder / "synthetic").mkdir(exist_ok=True)
    wanted = list(arms(kinds, pairs, lengths))
    places = {(arm, seed): folder / "synthetic" / f"{arm.key}-seed{seed}.json" for seed in seeds for arm in wanted}
    done = sum(place.exists() for place in places.values())
    told({"event": "batch_started", "total": len(places), "finished": done})
    for (arm, seed), place in places.items():
        identity: Identity = {"what": "synthetic arm", "arm": arm.key, "seed": seed, "size": repr(size)}
        if not place.exists():
            told({"event": "run_started", "name": place.stem})
            data = synthetic.make_data(arm.kind, size.most, seed)
            write_sealed_json(place, {"records": synthetic.measure(data, arm, size, seed)}, identity)
            told({"event": "run_finished", "name": place.stem})
        yield from read_sealed_json(place, identity, "remove it, and it is made again")["records"]


def _of_run(run: RealRun) -> Iterator[Record]:
    """Iterate over the records of a run on real tasks; of one that failed there are none."""
    job, arm = run.job, run.arm
    if not job.finished():
        return
    about = {"kind": arm.kind, "pairs": arm.pairs, "trunk": arm.trunk, "length": arm.length, "seed": job.seed}
    events = read_events(job.out / "events.jsonl")
    last = next(event for event in reversed(events) if event["event"] == "theory")
    for task, loss in last["losses"].items():
        yield {**about, "pair": task, "outcome": "training", "value": loss}
    rows = checked_rows(
        read_listed(job.out, str(read_record(job.out)["run"]), "results.json"), job.out / "results.json"
    )
    types = {task.name: task.type for client in job.scenario.clients for task in client.tasks}
    for outcome, model in MODELS.items():
        for task, type_ in types.items():
            values = [
                row["value"]
                for row in rows
                if (row["task"], row["model"], row["split"], row["metric"]) == (task, model, "test", PRIMARY[type_])
            ]
            if values and None not in values:
                yield {**about, "pair": task, "outcome": outcome, "value": sum(values) / len(values)}
    if arm.trunk == "shared" and arm.pairs > 1:
        apart = sum(
            max(0.0, event["zeta2_pairs"])
            for event in events
            if event["event"] == "theory_component"
            and event["round"] == last["round"]
            and event["alignment"] is not None
        )
        yield {**about, "pair": "", "outcome": "zeta2_pairs", "value": apart}


def _write(folder: Path, result: dict[str, Any]) -> None:
    from fedtap.reporting.html.figure_files import write_figures
    from fedtap.reporting.pairs.page import pairs_markdown, pairs_page

    write_json(folder / "pairs.json", result)
    write_bytes(folder / "pairs.md", pairs_markdown(result).encode())
    shown = pairs_page(result)
    write_bytes(folder / "pairs.html", shown.encode())
    write_figures(shown, folder / "figures")
