"""The choice of an engine, above the single run and above the deployment, neither of which knows the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedtap.experiment.folder import RunFolder
from fedtap.reporting.progress.choice import run_progress
from fedtap.results.run_result import RunResult
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.overrides import Overrides
from fedtap.scenario.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from fedtap.engines.ray.settings import RaySettings
    from fedtap.experiment.folder import Resume

Observer = Callable[[dict[str, Any]], None]


class Engine(Protocol):
    """A way to do a whole run."""

    def __call__(
        self,
        scenario: Scenario,
        *,
        method: str | None,
        seed: int,
        out: Path | None,
        resume: Resume,
        device: str,
        tell: Observer,
    ) -> dict[str, Any]:
        """Do the run, tell its events, and return what results.json holds."""


def _in_process() -> Engine:
    from fedtap.experiment.run import run_in_process

    return run_in_process


def _flower() -> Engine:
    from fedtap.deployment.rehearsal import rehearse

    return rehearse


def _ray(workers: int | str = "auto", address: str | None = None, gpus_per_worker: float = 0.0) -> Engine:
    from fedtap.engines.ray.cluster import require_ray
    from fedtap.engines.ray.settings import RaySettings

    settings = RaySettings(address, gpus_per_worker)
    require_ray()
    return _with_workers(workers, settings)


def _with_workers(workers: int | str, ray: RaySettings | None = None) -> Engine:
    from fedtap.experiment.pooled import parsed
    from fedtap.experiment.run import run_in_process

    return partial(run_in_process, workers=parsed(str(workers)), ray=ray)


ENGINES: Mapping[str, Callable[[], Engine]] = {"inprocess": _in_process, "ray": _ray, "flower": _flower}
"""By the name that ``--engine`` takes. Each is imported when it is asked for: Ray and Flower are extras."""


def _chosen(engine: str, workers: int | str | None, ray_address: str | None, gpus_per_worker: float) -> Engine:
    """Return an engine with the options that go with it; the others are refused."""
    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: not available; {nearest(engine, ENGINES)}")
    for option, given in (("--ray-address", ray_address is not None), ("--gpus-per-worker", gpus_per_worker != 0)):
        if given and engine != "ray":
            raise UserError(f"{option} goes with --engine ray; leave it out, or choose that engine")
    if engine == "ray":
        return _ray("auto" if workers is None else workers, ray_address, gpus_per_worker)
    if workers is None:
        return ENGINES[engine]()
    if engine != "inprocess":
        raise UserError(
            f"--workers goes with --engine inprocess or ray; with {engine} every client is a process of its own already; leave "
            "one out"
        )
    return _with_workers(workers)


def _longer(scenario: Scenario, rounds: int, resume: Resume, engine: str) -> Scenario:
    """Return a scenario with other rounds; refuses what does not go with an extension."""
    if resume:
        raise UserError("--extend goes on by itself, after an interruption too; leave out --resume")
    if engine not in ("inprocess", "ray"):
        raise UserError(
            f"--extend goes with --engine inprocess or ray; with {engine} every site keeps states of its own: start anew"
        )
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 0 < rounds <= 1_000_000:
        raise UserError(f"--extend rounds={rounds}: give a whole number of rounds, more than the run has")
    return scenario.model_copy(update={"rounds": rounds})


def run(
    scenario: str | Path | Scenario,
    *,
    method: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overrides: Overrides = (),
    resume: Resume = False,
    extend: int | None = None,
    engine: str = "inprocess",
    device: str = "auto",
    workers: int | str | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float = 0.0,
    track: Sequence[str] | None = None,
    observers: Sequence[Observer] = (),
    progress: bool | None = None,
) -> RunResult:
    """Run a method on a scenario and return its result.

    Parameters
    ----------
    scenario
        A YAML file, or a scenario already loaded (then ``overrides`` must be empty).
    method
        Instead of the scenario's own.
    seed
        Of the run: starts, partition, sampling and the order of data all follow from it.
    out
        The run's folder; by default ``runs/<scenario>-<method>-seed<seed>``.
    overrides
        Settings that differ from the file's: ``{"training.lr": 1e-4}``, ``{"training": {"lr": 1e-4}}``, or
        ``["training.lr=1e-4"]``.
    resume
        True: go on from the last complete round in ``out``, which must hold a run; the result is that of an uninterrupted run.
        ``"auto"``: go on, or start where there is none; an event ``note`` says which.
    extend
        Go on from the finished run in ``out`` to so many rounds, with clients that the scenario has and the run had not, if there
        are any. Its results and models are replaced by those of the longer run: the same bytes as of so many rounds from the
        start, where the rates of the first rounds do not depend on how many come (``training.final_ratio=1``).
    engine
        ``inprocess``; ``ray``: workers as Ray actors, with the results of any number of workers; or ``flower``: a SuperLink and
        SuperNodes on this machine, with the same results but for the cross-client test, which a server without the clients'
        data cannot make.
    device
        ``auto``, ``cpu``, ``cuda`` or any torch device.
    workers
        So many processes beside this one, in which clients train, personalise and test their models side by side, each with one
        thread; ``"auto"``: one for each core, as far as memory reaches. The results do not depend on how many there are, and
        are those that this process has with one thread. By default none: all is done in this process, with torch's threads.
        With ``ray`` so many actors, by default as many as have a place.
    ray_address
        With ``ray``: of a cluster that runs already, or ``auto``; None: a Ray is started on this machine, for this run alone.
    gpus_per_worker
        With ``ray``: how many GPUs, or what part of one, each actor takes.
    track
        Names of trackers that are told of the run (``tensorboard``, ``mlflow``, ``wandb``), instead of those of the scenario's
        section ``tracking``. One that fails is given up, which an event ``note`` says; it never stops the run.
    observers
        Called with every event, and with passing ones on progress that are not written down.
    progress
        Whether to show how far the run is: in a notebook below the cell, elsewhere on standard error. By default in a notebook
        alone.

    Returns
    -------
    RunResult
        A dictionary of what results.json holds, which has the tables, figures and models of the run as attributes.

    Raises
    ------
    UserError
        If anything given is wrong.
    RunError
        If the machine cannot go on (a full disk).
    """
    chosen = _chosen(engine, workers, ray_address, gpus_per_worker)
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario, overrides)
    elif overrides:
        raise UserError("overrides go with a scenario file, not with a scenario that is already loaded")

    if extend is not None:
        scenario, resume = _longer(scenario, extend, resume, engine), "extend"

    folder = RunFolder.place(scenario, method=method, seed=seed, out=out)
    with run_progress(progress, scenario.rounds) as shown:

        def tell(event: dict[str, Any]) -> None:
            for observer in (*observers, *shown):
                observer(event)

        with _tracked(scenario, track, folder, tell) as heard:
            results = chosen(scenario, method=method, seed=seed, out=folder, resume=resume, device=device, tell=heard)
    return RunResult(folder, results)


@contextmanager
def _tracked(scenario: Scenario, track: Sequence[str] | None, folder: Path, tell: Observer) -> Iterator[Observer]:
    """Have trackers told of a run, and return who is to be told of its events; with no tracker that is ``tell`` itself."""
    asked = scenario.tracking.trackers if track is None else track
    if not asked:
        yield tell
        return
    from fedtap.reporting.tracking.observer import Tracking
    from fedtap.reporting.tracking.registry import check_trackers

    names = check_trackers(asked, "tracking" if track is None else "--track")
    tracking = Tracking(
        folder,
        names,
        project=scenario.tracking.project,
        offline=scenario.tracking.offline,
        say=lambda line: tell({"event": "note", "text": line}),
    )

    def heard(event: dict[str, Any]) -> None:
        tell(event)
        tracking(event)

    with tracking:
        yield heard
