"""The process beside a run: it serves while the run goes on, gives the last state, and cannot stop the run."""

import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from fedtap.reporting.live import companion as module
from fedtap.reporting.live.companion import Companion
from fedtap.reporting.live.server import address, listen
from fedtap.runtime.lock import locked
from synthetic_run import write_run


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=300) as reply:
        return str(reply.read().decode())


@pytest.mark.slow
def test_it_tells_of_progress_and_then_gives_the_last_state(tmp_path: Path) -> None:
    folder, said = tmp_path / "run", list[str]()
    listening = listen(0)
    url = address(listening, "secret")
    with Companion(folder, listening, "secret", said.append) as beside:
        beside({"event": "encoding", "tower": "vision", "done": 2, "total": 7})
        beside({"event": "update", "client": "c0"})  # is in the log
        assert "The run is starting" in page(url)
        while 'max="7" value="2"' not in page(url):
            time.sleep(0.1)
        with locked(folder):
            write_run(folder, finished=False)
            while "The run is going on" not in page(url):
                time.sleep(0.1)
        process = beside._process
        assert process is not None
    assert process.wait(0) == 0
    assert said == []


@pytest.mark.slow
def test_a_run_goes_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    said: list[str] = []
    with Companion(tmp_path, listen(0), "secret", said.append) as beside:
        assert beside._process is not None
        os.kill(beside._process.pid, signal.SIGSTOP)  # takes nothing any more
        for done in range(5_000):
            beside({"event": "encoding", "tower": "t" * 900, "done": done, "total": 5_000})
        os.kill(beside._process.pid, signal.SIGKILL)
        beside._process.wait()
        for done in range(3):
            beside({"event": "encoding", "done": done, "total": 3})
    assert said == ["the live page is not served any more; the run goes on, and `fedtap watch` shows it"]


def test_where_it_cannot_be_started_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "no-python"))
    said: list[str] = []
    with Companion(tmp_path, listen(0), "secret", said.append) as beside:
        beside({"event": "encoding", "done": 1, "total": 2})
    assert said == ["the live page cannot be served (No such file or directory); the run goes on"]
