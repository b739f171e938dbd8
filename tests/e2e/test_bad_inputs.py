"""What the user can get wrong: one line that names place and mend, the right exit code, and nothing is lost by it.

Each fault meets a run that was cut off after its first round: its folder must not change, and once the fault is mended the run
must go on to the very results of a run that never met it. Faults of clients' updates are in test_failing_clients.py.
"""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from PIL import Image

import fedtap as library
from e2e.conftest import Command, cut_off, events, same_end, snapshot
from fedtap.runtime.errors import RunError
from tiny_federation import settings, write_scenario

pytestmark = pytest.mark.usefixtures("no_report")
SRC = Path(__file__).parents[2] / "src"


class Started(NamedTuple):
    """A run that was cut off after its first round, and its scenario; both are the test's own to damage."""

    scenario: Path
    out: Path

    @property
    def data(self) -> Path:
        return self.scenario.parent / "data"


@pytest.fixture(scope="module")
def first_round(tmp_path_factory: pytest.TempPathFactory) -> Started:
    scenario = write_scenario(tmp_path_factory.mktemp("damaged"))
    out = tmp_path_factory.mktemp("half") / "run"
    cut_off(scenario, out, "round_started", where={"round": 2})
    return Started(scenario, out)


@pytest.fixture
def started(first_round: Started, tmp_path: Path) -> Started:
    """Return a copy of the run; the scenario stays in its place, where the run knows it, and is restored for every test."""
    out = tmp_path / "run"
    shutil.copytree(first_round.out, out)
    shutil.rmtree(first_round.data)
    write_scenario(first_round.scenario.parent)
    return Started(first_round.scenario, out)


def changed(**changes: Any) -> Callable[[Started], Path]:
    """Return a damage to the scenario's top-level keys."""

    def damage(started: Started) -> Path:
        started.scenario.write_text(yaml.safe_dump(settings() | changes))
        return started.scenario

    return damage


def without_tasks(started: Started) -> Path:
    clients = [
        {**client, "tasks": [] if client["id"] == "asker" else client["tasks"]} for client in settings()["clients"]
    ]
    return changed(clients=clients)(started)


def no_folder(started: Started) -> Path:
    (started.data / "pictures").rename(started.data / "photographs")
    return started.data / "pictures"


def no_class_folder(started: Started) -> Path:
    (started.data / "pictures" / "dark").rename(started.data / "pictures" / "drak")
    return started.data / "pictures" / "dark"


def no_table(started: Started) -> Path:
    (started.data / "questions.jsonl").unlink()
    return started.data / "questions.jsonl"


def corrupt_image(started: Started) -> Path:
    for path in (started.data / "pictures" / "light").iterdir():
        path.write_bytes(path.read_bytes()[:-700])
    return started.data / "pictures" / "light"


def no_image_at_all(started: Started) -> Path:
    (started.data / "pictures" / "light" / "1.png").write_text("a text with the wrong name")
    return started.data / "pictures" / "light" / "1.png"


def empty_table(started: Started) -> Path:
    (started.data / "films.csv").write_text("sentence,mood\n")
    return started.data / "films.csv"


def empty_folder(started: Started) -> Path:
    shutil.rmtree(started.data / "pictures" / "light")
    (started.data / "pictures" / "light").mkdir()
    return started.data / "pictures" / "light"


def too_few(started: Started) -> Path:
    (started.data / "films.csv").write_text("sentence,mood\na film,sad\nanother film,glad\n")
    return started.scenario


def unknown_label(started: Started) -> Path:
    path = started.data / "films.csv"
    lines = path.read_text().splitlines()
    lines[4] = "a strange film,furious"
    path.write_text("\n".join(lines))
    return path


class Fault(NamedTuple):
    """A damage (it returns the place that the complaint must name), more arguments, and what else must be said."""

    damage: Callable[[Started], Path] | None
    arguments: tuple[str, ...]
    said: tuple[str, ...]


FAULTS = {
    "unknown key": Fault(changed(locl_steps=3), (), ("unknown key 'locl_steps'", "did you mean 'local_steps'?")),
    "unknown key below": Fault(changed(network={"dmi": 8}), (), ("unknown key 'network.dmi'", "did you mean 'dim'?")),
    "unknown key on the command line": Fault(
        None, ("--set", "training.clpi=1"), ("unknown key 'training.clpi'", "did you mean 'clip'?")
    ),
    "misspelt method": Fault(None, ("--method", "fedvag"), ("no method 'fedvag'", "did you mean 'fedavg'?")),
    "misspelt method in the file": Fault(
        changed(method={"name": "tpa"}), (), ("no method 'tpa'", "did you mean 'tap'?")
    ),
    "misspelt parameter of the method": Fault(
        changed(method={"name": "tap", "gaet": "paired"}), (), ("unknown key 'gaet'", "did you mean 'gate'?")
    ),
    "missing data folder": Fault(no_folder, (), ("no such folder", "create it, or mend 'path'")),
    "missing class folder": Fault(no_class_folder, (), ("no folder for class 'dark'", "did you mean 'drak'?")),
    "missing table": Fault(no_table, (), ("cannot be read", "create it, or mend 'path'")),
    "corrupt image": Fault(corrupt_image, (), ("not a readable image", "replace it")),
    "empty client": Fault(without_tasks, (), ("'clients.2.tasks'", "a client needs at least one task")),
    "empty table": Fault(empty_table, (), ("no examples in it", "add rows")),
    "empty folder": Fault(empty_folder, (), ("no picture in it", "add some")),
    "too few examples": Fault(too_few, (), ("client '", "task 'mood'", "split would be empty", "add examples")),
    "label out of range": Fault(unknown_label, (), (":5: unknown label 'furious'", "mend it, or add it to 'classes'")),
}


def complaint(err: str) -> str:
    """Return the one line of complaint on standard error, where progress stands too."""
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("fedtap: ")]
    assert err.splitlines()[-1] == line
    return line


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_loses_nothing(name: str, started: Started, fedtap: Command) -> None:
    fault = FAULTS[name]
    place = fault.damage(started) if fault.damage else None
    before = snapshot(started.out)
    for out, more in ((started.out, ("--resume",)), (started.out.parent / "new", ())):
        done = fedtap("run", started.scenario, "--out", out, *more, *fault.arguments)
        assert done.code == 2
        line = complaint(done.err)
        for said in (*fault.said, *([str(place)] if place and name != "too few examples" else [])):
            assert said in line
    assert snapshot(started.out) == before
    assert (
        snapshot(started.out.parent / "new") == {}
    )  # so that the mended command needs no other folder, and no --resume


@pytest.mark.parametrize("name", ["missing data folder", "corrupt image"])
def test_once_the_fault_is_mended_the_run_goes_on(name: str, started: Started, whole: Path, fedtap: Command) -> None:
    """For two faults: where the folder has not changed, all others come down to the same."""
    damage = FAULTS[name].damage
    assert damage is not None
    damage(started)
    assert fedtap("run", started.scenario, "--out", started.out, "--resume").code == 2
    shutil.rmtree(started.data)
    write_scenario(started.scenario.parent)
    assert fedtap("run", started.scenario, "--out", started.out, "--resume").code == 0
    same_end(started.out, whole)


def test_the_mended_command_runs_in_the_folder_of_the_wrong_one(started: Started, fedtap: Command) -> None:
    unknown_label(started)
    command = ("run", started.scenario, "-m", "probe", "--out", started.out.parent / "new")
    assert fedtap(*command).code == 2
    shutil.rmtree(started.data)
    write_scenario(started.scenario.parent)
    assert fedtap(*command).code == 0


def test_one_corrupt_image_of_many_is_named(started: Started, fedtap: Command) -> None:
    """Whoever holds it; here all pictures are in use."""
    place = no_image_at_all(started)
    clients = [client for client in settings()["clients"] if client["id"] == "painter"]
    changed(clients=clients, clients_per_round=1, data={"train": 40, "validation": 20, "test": 30})(started)
    done = fedtap("run", started.scenario, "--out", started.out.parent / "new")
    assert done.code == 2
    assert complaint(done.err).startswith(f"fedtap: {place}: not a readable image")


def test_a_number_beyond_the_classes_is_named(started: Started, fedtap: Command) -> None:
    clients = settings()["clients"]
    for client in clients:
        for task in client["tasks"]:
            if task["name"] == "mood":
                task["classes"] = 2
    changed(clients=clients)(started)
    table = started.data / "films.csv"
    table.write_text(re.sub(",glad", ",2", re.sub(",sad", ",0", table.read_text())))
    done = fedtap("run", started.scenario, "--out", started.out.parent / "new")
    assert done.code == 2
    assert f"{table}:3: label '2' is no whole number from 0 to 1; mend it, or 'classes'" in complaint(done.err)


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("checkpoint/server.safetensors", "restore"),
        ("checkpoint/clients/asker/round-0001.safetensors", "restore"),
        ("run.json", "restore"),
        ("events.jsonl", "restore"),
    ],
)
def test_a_truncated_file_is_named_and_the_run_goes_on_once_it_is_restored(
    name: str, mend: str, started: Started, whole: Path, fedtap: Command
) -> None:
    path = started.out / name
    intact = path.read_bytes()
    for length in (len(intact) // 2, 5, 0):
        path.write_bytes(intact[:length])
        before = snapshot(started.out)
        done = fedtap("run", started.scenario, "--out", started.out, "--resume")
        assert done.code == 2
        assert str(path) in complaint(done.err)
        assert mend in complaint(done.err)
        after = snapshot(started.out)
        if "clients" not in name:  # a client's state is read in its round, whose beginning is then in the log already
            assert after == before | {name: after[name]}
            assert after[name] == before[name] or name == "events.jsonl"  # of which half a line may be cut off
    path.write_bytes(intact)
    assert fedtap("run", started.scenario, "--out", started.out, "--resume").code == 0
    same_end(started.out, whole)


def test_a_truncated_result_is_named(started: Started, fedtap: Command) -> None:
    command = ("run", started.scenario, "--out", started.out, "--resume")
    (started.out / "results.json").write_text('{"rows": [')
    done = fedtap(*command)
    assert done.code == 2
    assert f"{started.out / 'results.json'}: not a readable JSON file" in complaint(done.err)


@pytest.mark.parametrize("number", [1, 3, 5, 14, 30])
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    number: int, scenario: Path, whole: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from the ``number``-th file on: run.json, a client's state, a mark, a model."""
    out, written = tmp_path / "run", []
    real = os.fsync

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr("fedtap.runtime.storage.os.fsync", full)
        done = fedtap("run", scenario, "--out", out)
    assert done.code == 1
    line = complaint(done.err)
    assert re.match(rf"fedtap: {re.escape(str(out))}/\S+: no space left to write; free some space", line)
    assert "--resume" in line
    assert not list(out.rglob(".*"))  # no scrap is left to take up room
    assert fedtap("run", scenario, "--out", out, "--resume=auto").code == 0
    same_end(out, whole)


def test_a_log_that_cannot_grow_ends_the_run_and_room_lets_it_go_on(
    scenario: Path, whole: Path, tmp_path: Path
) -> None:
    """For real: from the second round on no file of this process may be longer than the log is."""
    out = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "round_started" and event["round"] == 2:
            # room for the clients' states, but the log has already been filled up to there
            size = (out / "events.jsonl").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))

    try:
        with pytest.raises(RunError, match=r"no space left to write; free some space.*--resume"):
            library.run(scenario, out=out, observers=[watch])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert events(out)[-1]["event"] == "round_started"  # whole lines only
    library.run(scenario, out=out, resume=True)
    same_end(out, whole)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (3_000, "run.json"),
        (20_000, "checkpoint/clients/asker/round-0001.safetensors"),
        (120_000, "checkpoint/server.safetensors"),
        (150_000, "checkpoint/clients/painter/round-0004.safetensors"),
    ],
)
def test_a_process_that_may_write_no_more_says_where_and_goes_on_later(
    limit: int, name: str, scenario: Path, whole: Path, tmp_path: Path, fedtap: Command
) -> None:
    """For real, in a process of its own: no file may grow beyond a limit."""
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "fedtap", "run", str(scenario), "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert complaint(done.stderr).startswith(f"fedtap: {out / name}: no space left to write; free some space")
    assert fedtap("run", scenario, "--out", out, "--resume=auto").code == 0
    same_end(out, whole)


def test_pictures_of_the_scenario_are_whole(started: Started) -> None:
    """The tests above damage what was sound."""
    for path in (started.data / "pictures").rglob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert picture.size == (32, 32)
