"""``fedtap compare`` with real processes: killed and gone on with, interrupted, and the same bytes whatever --jobs is."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SRC = Path(__file__).parents[2] / "src"
PATIENCE = 600  # seconds, on a busy machine
METHODS = ("-m", "local,fedavg_ft", "--seeds", "0,1")


def start(scenario: Path, out: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC), "FEDTAP_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-m", "fedtap", "compare", str(scenario), "--out", str(out), *METHODS, *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(moment: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not moment():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the moment did not come"
        time.sleep(0.01)


def checkpoint(out: Path) -> bool:
    return any(out.glob("runs/*/checkpoint/server.safetensors"))


@pytest.mark.thorough
def test_killed_gone_on_with_and_interrupted_ends_as_with_one_process(tiny: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    process = start(tiny, whole, tmp_path / "cache one", "--jobs", "2")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said

    process = start(tiny, halves, tmp_path / "cache two", "--jobs", "1")
    wait_until(lambda: checkpoint(halves), process)
    process.kill()
    process.communicate()

    process = start(tiny, halves, tmp_path / "cache two", "--jobs", "1")
    wait_until(lambda: len(list(halves.glob("runs/*/results.json"))) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the same command goes on" in said
    finished = {path: path.stat().st_mtime_ns for path in halves.glob("runs/*/results.json")}
    assert len(finished) < 4

    process = start(tiny, halves, tmp_path / "cache two", "--jobs", "1")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    one, other = (
        re.sub(rb'"commit": [^,]*,', b"", (out / "comparison.json").read_bytes())  # somebody may commit meanwhile
        for out in (halves, whole)
    )
    assert one == other
    for run in whole.glob("runs/*"):
        assert (halves / "runs" / run.name / "results.json").read_bytes() == (run / "results.json").read_bytes()
        assert json.loads((run / "run.json").read_text())["environment"]["threads"] == 1


@pytest.mark.slow
@pytest.mark.thorough  # test_compare.py has it within one process
def test_a_run_that_fails_does_not_stop_the_others(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bad = out / "runs" / "fedavg_ft-seed0"
    process = start(tiny, out, tmp_path / "cache", "--jobs", "2")
    wait_until(lambda: (bad / "checkpoint" / "server.safetensors").exists(), process)
    process.kill()
    process.communicate()
    time.sleep(1)
    # the checkpoint is damaged: that run cannot go on
    for attempt in range(100):
        if attempt and not (bad / "results.json").exists():
            break
        time.sleep(0.05)
    (bad / "checkpoint" / "server.safetensors").write_bytes(b"rubbish")
    (bad / "results.json").unlink(missing_ok=True)
    process = start(tiny, out, tmp_path / "cache", "--jobs", "2")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "fedavg_ft-seed0: failed: " in said
    assert "Traceback" not in said
    assert "1 of 4 runs failed (fedavg_ft-seed0)" in said.splitlines()[-1]
    assert len(list(out.glob("runs/*/results.json"))) == 3
