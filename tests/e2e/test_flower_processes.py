"""Flower's real processes on loopback, with TLS and keys: the example, and what is left standing when some of them die."""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="Flower needs Python 3.11")

from fedtap.deployment.node import DataPlace, NodeSettings, write_node
from fedtap.deployment.reach import AllowedMethod
from fedtap.engines.flower.app_folder import write_app
from fedtap.engines.flower.certificates import make_certificates, make_node_key
from fedtap.engines.flower.processes import Processes
from fedtap.federation.checkpoint import Checkpoint
from fedtap.runtime.watchdog import living
from tiny_federation import CLIENTS, write_scenario

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
EXAMPLE = Path(__file__).parents[2] / "examples" / "three-hospitals"
PATIENCE = 400  # seconds until something has happened, on a busy machine
HANGING = '''
"""TAP, but for one hospital that hangs in the first round."""

import time

from fedtap.algorithms.tap import Tap


class HangingTap(Tap):
    """See above."""

    name = "hanging_tap"
    summary = "for tests"

    def local_round(self, client, received, state):
        """Hang, or train."""
        if (client.id, client.round) == ("south", 1):
            time.sleep(3600)
        return super().local_round(client, received, state)
'''


def test_three_hospitals_have_the_results_of_one_process(tmp_path: Path) -> None:
    """The example compares them itself, and fails if they differ by more than 1e-6."""
    command = [sys.executable, str(EXAMPLE / "run.py"), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest difference" in done.stdout.splitlines()[-1]
    run = tmp_path / "work" / "federation"
    assert (run / "report.html").exists()
    assert [path.name for path in run.rglob("*.safetensors")] == ["server.safetensors"]  # personal models stay away


class Federation:
    """Three hospitals and a server, each with its folder."""

    def __init__(self, folder: Path, processes: Processes, example: Any) -> None:
        self.folder, self.processes = folder, processes
        self.out = folder / "run"
        self.hospitals: tuple[str, ...] = tuple(example.TASKS)
        hanging = folder / "hanging.py"
        hanging.write_text(HANGING)
        allowed = (AllowedMethod(path=str(hanging), sha256=hashlib.sha256(hanging.read_bytes()).hexdigest()),)
        for hospital, places in example.TASKS.items():
            make_node_key(self.node(hospital) / "node.key")
            data = {task: DataPlace(path=str(folder / path)) for task, path in places.items()}
            write_node(self.node(hospital), NodeSettings(client=hospital, data=data, allow_methods=allowed))
            (folder / "keys").mkdir(exist_ok=True)
            public = (self.node(hospital) / "node.key.pub").read_bytes()
            (folder / "keys" / f"{hospital}.pub").write_bytes(public)
        write_app(folder / "app", (EXAMPLE / "scenario.yaml").read_text(), name="three-hospitals")

    def node(self, hospital: str) -> Path:
        return self.folder / "nodes" / hospital

    def start_server(self) -> None:
        """Start the SuperLink for the first time, and tell it the hospitals' keys."""
        self.processes.start_superlink()
        for hospital in self.hospitals:
            self.processes.register(self.folder / "keys" / f"{hospital}.pub")

    def start_node(self, hospital: str) -> None:
        node = self.node(hospital)
        self.processes.start_supernode(hospital, {"client-id": hospital, "node": str(node)}, node / "node.key")

    def run(self) -> None:
        settings = "round_timeout=90;min_replies=1;training.finetune_steps=2"
        config = {"method": str(self.folder / "hanging.py"), "set": settings, "out": str(self.out)}
        self.processes.run(self.folder / "app", {**config, "keys": str(self.folder / "keys"), "patience": 60})

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        log = self.out / "events.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        found = [json.loads(line) for line in lines]
        return [event for event in found if event["event"] in kinds]

    def happened(self, kind: str, number: int) -> bool:
        return any(event["round"] == number for event in self.events(kind))

    def states(self, hospital: str) -> dict[str, bytes]:
        found = self.node(hospital).glob("state/*/checkpoint/clients/*/*.safetensors")
        return {path.name: path.read_bytes() for path in found}


def wait_until(happened: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, f"did not happen: {what}"
        time.sleep(0.2)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    sys.path.insert(0, str(EXAMPLE))
    try:
        spec = importlib.util.spec_from_file_location("three_hospitals", EXAMPLE / "run.py")
        assert spec is not None
        assert spec.loader is not None
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
    finally:
        sys.path.remove(str(EXAMPLE))
    example.make_data(tmp_path)
    with Processes(tmp_path / "processes", make_certificates(tmp_path / "tls")) as processes:
        yield Federation(tmp_path, processes, example)


@pytest.mark.deployment
def test_what_dies_costs_its_own_round_and_nothing_else(federation: Federation, tmp_path: Path) -> None:
    processes = federation.processes
    federation.start_server()
    for hospital in federation.hospitals:
        federation.start_node(hospital)
    # One has a key that the SuperLink was never told, and one trusts another authority: neither gets in.
    stranger = {"client-id": "west", "node": str(federation.node("west"))}
    make_node_key(tmp_path / "stranger")
    processes.start_supernode("stranger", stranger, tmp_path / "stranger")
    elsewhere = make_certificates(tmp_path / "other-tls")
    processes.start_supernode("misled", stranger, federation.node("west") / "node.key", elsewhere)
    federation.run()

    # One hospital hangs in the first round: it gives up when its time is up, and the others' work counts.
    wait_until(lambda: federation.happened("round_finished", 1), "the first round")
    (failed,) = federation.events("failed")
    assert (failed["client"], failed["round"]) == ("south", 1)
    assert "gave up after 90 s" in failed["why"] or "no answer within 90 s" in failed["why"]
    assert federation.states("south") == {}

    # One hospital loses power in the second round.
    heard = processes.log("west").count("train.round")
    wait_until(lambda: processes.log("west").count("train.round") > heard, "a request at west")
    before = federation.states("west")
    processes.kill("west")
    wait_until(lambda: federation.happened("round_finished", 2), "the second round")
    assert [event["client"] for event in federation.events("failed") if event["round"] == 2] == ["west"]
    assert before.items() <= federation.states("west").items()

    # The server loses power in the third round, and is started again where it was. It knows the keys, and the nodes have waited.
    wait_until(lambda: federation.happened("round_started", 3), "the third round")
    processes.kill("superlink")
    committed = Checkpoint.load(federation.out / "checkpoint" / "server.safetensors")
    assert committed is not None
    assert committed.round == 2
    processes.start_superlink(port=processes.port)
    federation.start_node("west")
    federation.run()
    wait_until((federation.out / "results.json").exists, "the results")

    finished = {event["round"]: event["clients"] for event in federation.events("round_finished")}
    assert sorted(finished) == [1, 2, 3, 4]
    assert finished[1] == ["north", "west"]
    assert finished[2] == ["north", "south"]
    assert finished[4] == ["north", "south", "west"]
    assert federation.events("rejected") == []
    rows = json.loads((federation.out / "results.json").read_text())["rows"]
    assert {row["client"] for row in rows if row["model"] == "personal"} == set(federation.hospitals)
    for hospital in federation.hospitals:
        assert "round-0005.safetensors" in federation.states(hospital)
    assert {event["client"] for event in federation.events("joined")} == set(federation.hospitals)
    for outsider in ("stranger", "misled"):
        assert "Receiving" not in processes.log(outsider)


@pytest.mark.deployment
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_rehearsal_that_is_killed_leaves_no_process_and_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    scenario, out = write_scenario(tmp_path), tmp_path / "run"
    command = [sys.executable, "-m", "fedtap", "run", str(scenario), "--engine", "flower", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    place = out / "checkpoint" / "flower" / "processes"
    log = out / "events.jsonl"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            wait_until(lambda: log.exists() and "round_started" in log.read_text(), "the first round")
            names = " ".join(" ".join(process.cmdline()) for process in living(place))
            assert names.count("flower-supernode") == len(CLIENTS)
            assert "flower-superlink" in names
            assert "flower-superexec" in names
            assert "flwr-serverapp" in names
            run.send_signal(number)
            run.wait(PATIENCE)
        finally:
            run.kill()
    wait_until(lambda: not living(place), "the end of all processes")
    done = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert living(place) == {}
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["client"] for row in rows} == set(CLIENTS)
