"""`kill -9` at moments seen from outside, then --resume: the results are those of the run that nobody killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import Command, same_end
from tiers import thorough_but

pytestmark = pytest.mark.slow
SRC = Path(__file__).parents[2] / "src"
PATIENCE = 240  # seconds until a moment has come, on a busy machine


def lines(run: Path, word: str) -> int:
    """Return how many lines of the event log hold a word."""
    log = run / "events.jsonl"
    return log.read_text(encoding="utf-8").count(word) if log.exists() else 0


def held(run: Path, pattern: str) -> int:
    """Return how many files there are of a pattern."""
    return len(list(run.glob(pattern)))


MOMENTS: dict[str, Callable[[Path], object]] = {
    "when the folder is made": lambda run: (run / "run.json").exists(),
    "in a round, after an update": lambda run: lines(run, '"update"'),
    "between a client's state and the checkpoint": lambda run: held(run, "checkpoint/clients/*/round-0002.safetensors"),
    "after a checkpoint": lambda run: held(run, "checkpoint/server.safetensors"),
    "after the last round": lambda run: lines(run, '"round_finished"') == 3,
    "while clients are personalised": lambda run: held(run, "checkpoint/personalised/*") >= 2,
    "while clients are evaluated": lambda run: held(run, "clients/*/personal/model.safetensors"),
}


def start(scenario: Path, out: Path, *more: str, cache: Path | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    if cache is not None:
        environment["FEDTAP_CACHE"] = str(cache)
    command = [sys.executable, "-m", "fedtap", "run", str(scenario), "--out", str(out), *more]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_at(process: subprocess.Popen[bytes], moment: Callable[[], object]) -> None:
    """Kill a process as soon as a moment has come; it must not have ended before."""
    until = time.monotonic() + PATIENCE
    while not moment():
        assert process.poll() is None, f"it ended by itself, with code {process.returncode}"
        assert time.monotonic() < until, "the moment did not come"
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


OFTEN = ("in a round, after an update", "while clients are personalised")
"""What `make test` kills at; what lies on the disk at all moments, and between them, is resumed in test_interrupted.py."""


@pytest.mark.parametrize("moment", thorough_but(OFTEN, MOMENTS))
def test_killed_once(moment: str, scenario: Path, whole: Path, tmp_path: Path, fedtap: Command) -> None:
    out = tmp_path / "run"
    kill_at(start(scenario, out), lambda: MOMENTS[moment](out))
    done = fedtap("run", scenario, "--out", out, "--resume")
    assert done.code == 0, done.err
    same_end(out, whole)


@pytest.mark.thorough  # tests/data/test_encode.py has encoding cut off, within one process
def test_killed_while_examples_are_encoded(scenario: Path, whole: Path, tmp_path: Path, fedtap: Command) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    kill_at(start(scenario, out, cache=cache), lambda: list(cache.rglob("*.npy*")))
    done = start(scenario, out, "--resume=auto", cache=cache)
    assert done.wait(PATIENCE) == 0
    same_end(out, whole)


@pytest.mark.thorough
def test_killed_whenever_it_has_got_further(scenario: Path, whole: Path, tmp_path: Path) -> None:
    """Each attempt is killed as soon as one more round, or one more personal model, is safe."""
    out = tmp_path / "run"
    for number in (1, 2):
        more = ("--resume",) if number > 1 else ()
        kill_at(start(scenario, out, *more), lambda number=number: lines(out, '"round_started"') > number)
    for number in (2, 4):
        kill_at(
            start(scenario, out, "--resume"), lambda number=number: held(out, "checkpoint/personalised/*") >= number
        )
    assert start(scenario, out, "--resume").wait(PATIENCE) == 0
    same_end(out, whole)


def test_control_c_ends_with_130_and_a_word_on_how_to_go_on(
    scenario: Path, whole: Path, tmp_path: Path, fedtap: Command
) -> None:
    out = tmp_path / "run"
    process = start(scenario, out)
    until = time.monotonic() + PATIENCE
    while not lines(out, '"update"'):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert fedtap("run", scenario, "--out", out, "--resume").code == 0
    same_end(out, whole)
