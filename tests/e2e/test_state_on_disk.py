"""What lies on the disk is what a run left, or it is refused by name: changed, missing, of another run, or in use."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fedtap as library
from e2e.conftest import Command, same_end
from fedtap.runtime.lock import locked


class CutError(Exception):
    pass


@pytest.fixture(scope="module")
def started(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was cut off when one client had its personal model; not to be changed."""
    out = tmp_path_factory.mktemp("started") / "run"

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "personalising" and event["done"] == 1:
            raise CutError

    with pytest.raises(CutError):
        library.run(scenario, out=out, observers=[watch])
    return out


@pytest.fixture
def copy(started: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(started, tmp_path / "run"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def newest(out: Path, client: str) -> Path:
    return sorted((out / "checkpoint" / "clients" / client).glob("round-*"))[-1]


STATES: dict[str, Callable[[Path], Path]] = {
    "checkpoint": lambda out: out / "checkpoint" / "server.safetensors",
    "client": lambda out: newest(out, "asker"),
    "mark": lambda out: next((out / "checkpoint" / "personalised").iterdir()),
    "record": lambda out: out / "run.json",
    "log": lambda out: out / "events.jsonl",
}


@pytest.mark.parametrize("name", STATES)
def test_a_flipped_bit_is_refused_by_name(name: str, copy: Path, scenario: Path, fedtap: Command) -> None:
    path = STATES[name](copy)
    flip(path)
    done = fedtap("run", scenario, "--out", copy, "--resume")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"fedtap: {path}: ")


@pytest.mark.parametrize("everything", [False, True])
def test_a_removed_state_does_not_start_a_client_anew(
    everything: bool, copy: Path, scenario: Path, fedtap: Command
) -> None:
    path = newest(copy, "asker")
    if everything:
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    done = fedtap("run", scenario, "--out", copy, "--resume")
    assert done.code == 2
    assert f"{path.parent}" in done.err.splitlines()[-1]
    assert "client 'asker' has taken part" in done.err.splitlines()[-1]


def test_scraps_go_and_the_run_ends_as_ever(copy: Path, scenario: Path, whole: Path, fedtap: Command) -> None:
    scrap = newest(copy, "asker").with_name(".round-0003.safetensors.abcd1234")
    scrap.write_bytes(b"a part of a private model")
    said = fedtap("run", scenario, "--out", copy, "--resume=auto")
    assert said.code == 0
    assert f"{copy}: goes on with the run that it holds" in said.err
    assert not scrap.exists()
    same_end(copy, whole)


def test_a_folder_in_use_is_refused_and_nothing_to_resume_is_said(
    copy: Path, scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    with locked(copy):
        for more in ((), ("--resume",), ("--resume=auto",)):
            done = fedtap("run", scenario, "--out", copy, *more)
            assert (done.code, "another fedtap is at work there" in done.err) == (2, True)
    done = fedtap("run", "--resume", scenario, "--out", tmp_path / "none")
    assert done.code == 2
    assert f"{tmp_path / 'none'}: holds no run to go on with" in done.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run["data"].update(painter="0"), "other data of client 'painter'"),
        (lambda run: run["environment"].update(torch="0.1"), "made with torch 0.1"),
        (lambda run: run.update(code="0"), "another version of the method's file"),
    ],
)
def test_what_changed_since_is_said(
    change: Callable[[dict[str, Any]], None], said: str, copy: Path, scenario: Path, fedtap: Command
) -> None:
    from fedtap.runtime.manifest import read_record
    from fedtap.runtime.sealed import write_sealed_json

    record = read_record(copy)
    change(record)
    write_sealed_json(copy / "run.json", record, {"what": "run", "run": record["run"]})
    done = fedtap("run", scenario, "--out", copy, "--resume")
    assert done.code == 2
    assert said in done.err.splitlines()[-1]


def test_a_project_may_move(copy: Path, scenario: Path, whole: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(scenario.parent, tmp_path / "moved"))
    library.run(moved / scenario.name, out=copy, resume=True)
    same_end(copy, whole)


def test_a_finished_run_that_was_changed_is_refused(
    whole: Path, scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    assert fedtap("report", out).code == 0
    log = out / "events.jsonl"
    intact = log.read_bytes()
    log.write_bytes(intact.replace(b'"steps": ', b'"steps": 1', 1))
    for command in (("report", out), ("run", scenario, "--out", out, "--resume")):
        done = fedtap(*command)
        assert done.code == 2
        assert f"{log}: was changed after the run had ended" in done.err
    log.write_bytes(intact)
    client = next((out / "clients").iterdir()).name
    for path in (out / "clients" / client).rglob("config.json"):
        raw = json.loads(path.read_text())
        path.write_text(json.dumps({**raw, "method": "other"}))
    task = json.loads(path.read_text())["client"]["tasks"][0]
    done = fedtap("predict", out, "--client", client, "--task", task["name"], "--text", "a film")
    assert done.code == 2
