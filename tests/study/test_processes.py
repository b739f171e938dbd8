"""Processes of runs: forked by one that has loaded everything, told and heard as those that are started alone."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedtap.study import processes
from fedtap.study.processes import Run, Starter

pytestmark = pytest.mark.skipif(sys.platform not in processes.SYSTEMS, reason="no process forks here")


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    made = Starter(2)
    yield made
    made.close()


def ended(run: Run, job: dict[str, Any]) -> dict[str, Any]:
    """Tell a run what to do, and return the last that it tells."""
    run.stdin.write(json.dumps(job) + "\n")
    run.stdin.flush()
    with run.stdout:
        told = [json.loads(line) for line in run.stdout]
    run.stdin.close()
    last: dict[str, Any] = told[-1]
    return last


def wrong(name: str, folder: Path) -> dict[str, Any]:
    """Return a job that no run can do, and that says so by its name."""
    return {"name": name, "scenario": {"rounds": -1}, "folder": str(folder), "seed": 0, "out": "out", "device": "cpu"}


def test_each_is_told_for_itself_and_ends_with_its_own_code(starter: Starter, tmp_path: Path) -> None:
    runs = [starter.start(tmp_path / "log") for _ in range(3)]
    assert len({run.pid for run in runs}) == 3  # type: ignore[attr-defined]  # they were forked, each a process of its own
    for number in (2, 0, 1):
        told = ended(runs[number], wrong(f"job{number}", tmp_path))
        assert (told["event"], told["code"]) == ("ended", 2)
        assert f"job{number}" in told["why"]
        assert runs[number].wait() == 2


def test_what_it_prints_beside_goes_to_its_log_and_it_has_no_part_in_the_terminal(
    starter: Starter, tmp_path: Path
) -> None:
    run = starter.start(tmp_path / "log")
    pid = run.pid  # type: ignore[attr-defined]
    ours = [f"/proc/{pid}/fd/{number}" for number in (0, 1, 2)]
    until = time.monotonic() + 60  # it is forked, and then makes itself at home
    while os.readlink(ours[2]) != str(tmp_path / "log") and time.monotonic() < until:
        time.sleep(0.01)
    assert os.getsid(pid) == pid
    assert os.readlink(ours[2]) == str(tmp_path / "log")
    assert os.readlink(ours[0]).startswith(
        "pipe:"
    )  # it is told there; its second it has put aside to tell, and prints to its log
    run.stdin.write("{}\n")  # no job: a fault, which is told
    run.stdin.close()
    run.stdout.close()
    assert run.wait() == 1
    assert "KeyError" in (tmp_path / "log").read_text()


def test_one_that_is_killed_has_the_signals_code_and_the_next_begins(starter: Starter, tmp_path: Path) -> None:
    run = starter.start(tmp_path / "log")
    run.kill()
    assert run.wait() == -9
    run.kill()  # it is gone, and nobody else is hit
    for stream in (run.stdin, run.stdout):
        stream.close()
    again = starter.start(tmp_path / "log")
    assert ended(again, wrong("again", tmp_path))["code"] == 2


@pytest.mark.thorough  # each of its processes loads everything by itself
def test_without_its_server_runs_are_started_alone(tmp_path: Path) -> None:
    starter = Starter(2)
    server = starter._server
    assert server is not None
    server._process.kill()
    server._listener.join()
    run = starter.start(tmp_path / "log")
    assert isinstance(run, processes._Started)
    assert ended(run, wrong("alone", tmp_path))["code"] == 2
    assert run.wait() == 2
    starter.close()


def test_for_one_run_no_server_is_started() -> None:
    assert Starter(1)._server is None
