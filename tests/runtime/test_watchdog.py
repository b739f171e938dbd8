"""What a process started is gone when it is gone, whatever ended it; with `sleep`s (Flower's: e2e/test_flower_processes.py)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtap.runtime.errors import UserError
from fedtap.runtime.watchdog import Mark, Watchdog, clear, end_all, living

SRC = Path(__file__).parents[2] / "src"
STUBBORN = "trap '' TERM HUP INT; "
CHILDREN = "{stubborn}sleep 600 & setsid sleep 600 & (setsid sh -c '{inner}sleep 600 & sleep 600' &); sleep 600"
"""A child, one in a session of its own, and grandchildren in another, whose parent is gone."""
STARTER = """
import os, subprocess, sys, time
from pathlib import Path
from fedtap.runtime.watchdog import Mark, Watchdog
folder = Path(sys.argv[1])
watchdog = Watchdog(folder)
subprocess.Popen(["sh", "-c", sys.argv[2]], env={**os.environ, **Mark.of(folder).environment()}, start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""


def tree(stubborn: bool = False) -> str:
    """Return a shell's command that starts at least six processes; whether there is a seventh depends on the shell."""
    return CHILDREN.format(stubborn=STUBBORN if stubborn else "", inner="")


def until_there_are(count: int, folder: Path) -> None:
    end = time.monotonic() + 20
    while (found := len(living(folder))) < count:
        assert time.monotonic() < end, f"{found} processes, not {count}"
        time.sleep(0.05)


def until_none_is_left(folder: Path) -> None:
    end = time.monotonic() + 20
    while found := living(folder):
        assert time.monotonic() < end, found
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert end_all(tmp_path, grace=0) == []


def started(folder: Path, command: str = "sleep 600", mark: Mark | None = None) -> subprocess.Popen[bytes]:
    marked = {**os.environ, **(mark or Mark.of(folder)).environment()}
    return subprocess.Popen(["sh", "-c", command], env=marked, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_of_what_a_killed_process_started(number: signal.Signals, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder), tree()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"ready\n"
        try:
            until_there_are(6, folder)
            starter.send_signal(number)
            starter.wait(10)
        finally:
            starter.kill()
    until_none_is_left(folder)


def test_a_watchdog_that_is_called_off_leaves_nothing_either(folder: Path, tmp_path: Path) -> None:
    watchdog = Watchdog(folder)
    other = tmp_path / "other"
    with started(folder, tree()), started(other) as bystander:
        until_there_are(6, folder)
        watchdog.close()
        assert living(folder) == {}
        assert bystander.poll() is None  # what carries another folder's mark is not touched
        assert end_all(other) == []


def test_what_does_not_hear_is_killed(folder: Path) -> None:
    with started(folder, tree(stubborn=True)):
        until_there_are(6, folder)
        began = time.monotonic()
        assert end_all(folder, grace=0.5) == []
        assert 0.5 <= time.monotonic() - began < 10
        assert living(folder) == {}


def test_files_under_a_living_processs_feet_are_not_touched(folder: Path) -> None:
    with started(folder) as process:
        until_there_are(1, folder)
        with pytest.raises(UserError, match=f"process {process.pid} is at work there for process {os.getpid()}, which"):
            clear(folder)
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("began", [0.0, None])
def test_what_an_attempt_left_that_is_gone_is_ended_first(began: float | None, folder: Path) -> None:
    mark = Mark.of(folder)
    # One whose number now is another's, and one whose number is nobody's.
    gone = Mark(mark.folder, mark.owner, began) if began is not None else Mark(mark.folder, 2**22 + 7, mark.began)
    with started(folder, mark=gone) as process:
        until_there_are(1, folder)
        clear(folder)
        assert process.wait(5) == -signal.SIGTERM


def test_a_folder_with_a_colon_is_read_as_it_was_written(tmp_path: Path) -> None:
    mark = Mark.of(tmp_path / "a:b")
    assert Mark.read(mark.environment()) == mark
    assert Mark.read({}) is None
    assert Mark.read({"FEDTAP_STARTED_FOR": "x"}) is None


def test_one_that_is_dismissed_goes_at_once_and_ends_nothing(folder: Path) -> None:
    watchdog = Watchdog(folder)
    process = started(folder)
    began = time.monotonic()
    watchdog.dismiss()
    assert time.monotonic() - began < 5
    assert process.poll() is None
    assert end_all(folder, grace=1) == []
    process.wait(20)
