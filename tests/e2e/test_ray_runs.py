"""Runs over Ray: the results are those of one process, whatever happens to an actor or to the run, and nothing is left of Ray.

Collected only where Ray is installed (``conftest.py``). Starting a Ray takes ten CPU seconds, so a test does several things.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import fedtap as library
from e2e.conftest import events, same_end
from e2e.test_killed import start
from e2e.test_pooled_runs import FAILING
from fedtap.algorithms.outside import _held
from fedtap.runtime.watchdog import living

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


def of_ray() -> set[int]:
    """Return the processes of any Ray on this machine."""
    found = set()
    for process in psutil.process_iter(["pid", "name", "cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or ())
        if process.info["status"] != psutil.STATUS_ZOMBIE and (
            process.info["name"] in ("raylet", "gcs_server") or words.startswith("ray::") or "/ray/" in words
        ):
            found.add(process.info["pid"])
    return found - {os.getpid()}


@pytest.fixture(autouse=True)
def nothing_is_left(no_report: None, tmp_path: Path) -> Any:
    before = of_ray()
    yield
    until = time.monotonic() + 180  # after SIGTERM two agents of Ray's notice late that their Ray is gone
    while (left := of_ray() - before) or any(living(folder) for folder in tmp_path.iterdir()):
        assert time.monotonic() < until, [psutil.Process(pid).cmdline() for pid in left if psutil.pid_exists(pid)]
        time.sleep(0.2)


def test_actors_end_as_one_process_does(
    scenario: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty cache, so that they encode too; and Ray is not heard."""
    handler = signal.getsignal(signal.SIGTERM)
    library.run(scenario, out=tmp_path / "one", overrides=("method.gate=paired",))
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
    capfd.readouterr()
    library.run(scenario, out=tmp_path / "ray", overrides=("method.gate=paired",), engine="ray", workers=2)
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGTERM) == handler
    same_end(tmp_path / "ray", tmp_path / "one")
    for path in (tmp_path / "one").rglob("*"):
        assert (tmp_path / "ray" / path.relative_to(tmp_path / "one")).stat().st_mode == path.stat().st_mode


def test_a_client_that_raises_and_an_actor_that_dies_are_failed_clients(scenario: Path, tmp_path: Path) -> None:
    file = tmp_path / "method" / "failing.py"
    file.parent.mkdir()
    file.write_text(FAILING)
    options = ("clients_per_round=4", "rounds=2")
    library.run(scenario, out=tmp_path / "run", method=str(file), overrides=options, engine="ray", workers=2)
    why = {(event["round"], event["client"]): event["why"] for event in events(tmp_path / "run", "failed")}
    assert why.pop((1, "both")).startswith("its Ray actor ended (")
    assert why == {(number, "painter"): "ValueError: the scanner is out of order" for number in (1, 2)}
    taken = [event["clients"] for event in events(tmp_path / "run", "round_finished")]
    assert taken == [["asker", "reader"], ["asker", "both", "reader"]]
    _held.pop("failing", None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_no_ray_and_can_be_resumed(
    number: signal.Signals, scenario: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(scenario, out, "--engine", "ray", "--workers", "1")
    until = time.monotonic() + 300
    while not (out / "checkpoint" / "server.safetensors").exists():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(60)
    if number == signal.SIGKILL:
        library.run(scenario, out=out, resume=True)
        same_end(out, whole)
