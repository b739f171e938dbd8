"""``fedtap run --engine flower``: a federation across machines, rehearsed on one, with a SuperLink and SuperNodes on loopback.

These are the processes of a real deployment, with TLS and keys, and not Flower's simulation, which needs Ray: what works here
works across machines. All data lie on this machine, and every node takes its client's share of them, so the results are those of
the run in one process, without the cross-client test.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from fedtap.algorithms.outside import is_file
from fedtap.algorithms.registry import make
from fedtap.deployment.node import FILE, DataPlace, NodeSettings, write_node
from fedtap.deployment.reach import AllowedMethod
from fedtap.experiment.folder import Resume, RunFolder, default_path
from fedtap.experiment.planning import check
from fedtap.experiment.requirements import check_no_validation, check_one_process
from fedtap.experiment.run import auto_note
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.home import expanded
from fedtap.runtime.installing import install
from fedtap.runtime.lock import ROUNDS, locked
from fedtap.runtime.storage import read_json
from fedtap.runtime.watchdog import clear
from fedtap.scenario.scenario import ClientSettings, Scenario

Observer = Callable[[dict[str, Any]], None]
LOOK = 0.5  # seconds between two looks at what the server has written
ASK = 30.0  # seconds between two questions to the SuperLink whether the run is still going on


def rehearse(
    scenario: Scenario,
    *,
    method: str | None,
    seed: int,
    out: Path | None,
    resume: Resume,
    device: str,
    tell: Observer,
) -> dict[str, Any]:
    """Run a federation with Flower's processes on this machine, and return what results.json holds.

    Parameters
    ----------
    scenario
        The federation; each of its clients gets a node.
    method, seed, out, resume, device
        As for :func:`fedtap.run`; the device is the nodes'.
    tell
        Called with the events of the run, as the server writes them.

    Raises
    ------
    UserError
        If anything given is wrong, or Flower is not installed.
    RunError
        If a process of Flower ends, or the server cannot go on.
    """
    _need_flower()
    check(scenario)
    check_one_process(scenario)
    check_no_validation(scenario)
    name = make(scenario.method, method, f"scenario '{scenario.name}', method").name
    out = (out or default_path(scenario.name, name, seed)).resolve()
    with locked(out):
        return _rehearsed(scenario, method=method, seed=seed, out=out, resume=resume, device=device, tell=tell)


def _rehearsed(
    scenario: Scenario,
    *,
    method: str | None,
    seed: int,
    out: Path,
    resume: Resume,
    device: str,
    tell: Observer,
) -> dict[str, Any]:
    from fedtap.engines.flower.app_folder import write_app
    from fedtap.engines.flower.certificates import make_certificates, make_node_key
    from fedtap.engines.flower.processes import Processes

    if method is not None and is_file(method):
        method = str(Path(method).resolve())
    text = yaml.safe_dump(as_written(scenario), sort_keys=False, allow_unicode=True)
    staged = RunFolder.open(_at(scenario, out), method=method, seed=seed, out=out, resume=resume, device="cpu")
    stage = out / "checkpoint" / "flower"
    clear(stage / "processes")  # before anything is read or removed that an earlier attempt's might still write
    if resume == "auto":
        tell(auto_note(staged))
    done = staged.results()
    if done is not None:
        return done
    with locked(out, name=ROUNDS):  # refused while a server of an attempt that was cut off still lives
        staged.tidy()
    staged.begin("cpu")
    for stale in ("app", "keys", "tls", "processes"):  # of an attempt that was cut off; the nodes' folders stay
        shutil.rmtree(stage / stale, ignore_errors=True)
    fault = stage / "fault.json"
    fault.unlink(missing_ok=True)
    app = write_app(stage / "app", text, name=scenario.name)
    certificates = make_certificates(stage / "tls")
    with Processes(stage / "processes", certificates) as processes:
        processes.start_superlink()
        for client in scenario.clients:
            processes.register(make_node_key(stage / "keys" / client.id))
        for client in scenario.clients:
            node = _node_folder(stage / "nodes" / client.id, client, scenario, device, method)
            config: dict[str, str] = {"client-id": client.id, "node": str(node)}
            processes.start_supernode(client.id, config, stage / "keys" / client.id)
        settings: dict[str, object] = {
            "method": method or "",
            "seed": seed,
            "out": str(out),
            "keys": str(stage / "keys"),
            "at-once": os.cpu_count() or 1,
            "fault": str(fault),
        }
        processes.run(app, settings)
        asked = time.monotonic()
        for event in _follow(staged.events, staged.path / "results.json", fault):
            if event is not None:
                tell(event)
            elif time.monotonic() - asked > ASK:
                asked = time.monotonic()
                if not processes.running("superlink") or not going_on(processes.flwr("ls", "--format", "json")):
                    break
    results = staged.results()
    if results is not None:
        if not staged.report.exists():
            staged.write_report()
        return results
    if fault.exists():
        told = read_json(fault)
        raise (UserError if told["kind"] == "UserError" else RunError)(str(told["message"]))
    raise RunError(f"the federation ended without results; the logs are in {stage / 'processes'}")


def as_written(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as plain values that say the same elsewhere: its clients as they are, its folders whole."""
    raw = scenario.resolved()
    del raw["population"], raw["tasks_per_client"]  # the clients that they make are listed
    raw["backbone"] = scenario.backbone.whole().model_dump(mode="json")
    name = raw["evaluation"]["bertscore_encoder"]
    encoder = scenario.folder / expanded(name)
    if encoder.is_dir():
        raw["evaluation"]["bertscore_encoder"] = str(encoder.resolve())
    return raw


def going_on(listing: str) -> bool:
    """Tell from what ``flwr ls`` says, in JSON, whether a run is still going on."""
    runs = json.loads(listing[listing.index("{") :])["runs"]
    return any(not str(run["status"]).startswith("finished") for run in runs)


def _at(scenario: Scenario, out: Path) -> Scenario:
    """Return the scenario as the server of the rehearsal will read it."""
    return Scenario.model_validate({**as_written(scenario), "folder": out})


def _node_folder(folder: Path, client: ClientSettings, scenario: Scenario, device: str, method: str | None) -> Path:
    """Make a client's node, which finds data and models where the scenario has them, and runs the method that was given."""
    places = {
        task.name: DataPlace(
            path=str((scenario.folder / task.path).resolve()),
            pictures=None if task.pictures is None else str((scenario.folder / task.pictures).resolve()),
        )
        for task in client.tasks
        if task.path is not None
    }
    written = as_written(scenario)
    names = [
        *(written["backbone"][key] for key in ("path", "vision", "text")),
        written["evaluation"]["bertscore_encoder"],
    ]
    models = tuple(dict.fromkeys(name for name in names if name is not None and Path(name).is_absolute()))
    allowed: tuple[AllowedMethod, ...] = ()
    if method is not None and is_file(method):
        file, colon, _ = method.rpartition(".py:")
        path = Path(f"{file}.py" if colon else method)
        allowed = (AllowedMethod(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()),)
    settings = NodeSettings(
        client=client.id, data=places, whole=True, device=device, models=models, allow_methods=allowed
    )
    (folder / FILE).unlink(missing_ok=True)  # of an attempt before; the private states beside it stay
    write_node(folder, settings)
    return folder


def _follow(log: Path, results: Path, fault: Path) -> Iterator[dict[str, Any] | None]:
    """Iterate over the events that are appended to a log, with None while nothing happens, until there are results or a fault."""
    place = log.stat().st_size if log.exists() else 0
    while True:
        ended = results.exists() or fault.exists()
        size = log.stat().st_size if log.exists() else 0
        place = min(place, size)  # the server cuts off what belongs to no complete round
        with log.open("rb") if log.exists() else open(os.devnull, "rb") as file:
            file.seek(place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                place += len(line)
                yield json.loads(line)
        if ended:
            return
        yield None
        time.sleep(LOOK)


def _need_flower() -> None:
    try:
        import fedtap.engines.flower.nodes  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--engine flower: package {error.name} is not installed; run: {install('flower')} (Python 3.11 or newer)"
        ) from error
