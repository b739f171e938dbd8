"""``fedtap watch`` and ``fedtap run --live`` as a user meets them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import fedtap as library
from synthetic_run import write_run
from tiny_federation import called


@pytest.mark.slow
def test_watch_serves_a_run_until_it_is_interrupted_and_leaves_it_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", finished=False)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    watching = subprocess.Popen(
        [sys.executable, "-m", "fedtap", "watch", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", watching.stdout.readline())
    assert found is not None
    with urllib.request.urlopen(found[0], timeout=300) as reply:
        assert b"The run has stopped before its end" in reply.read()
    os.kill(watching.pid, signal.SIGINT)
    _, said = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert "the run is left alone" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_watch_says_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("watch", tmp_path / "gone") == 2
    assert "no such folder" in capsys.readouterr().err
    assert called("watch", tmp_path) == 2
    assert "holds no run" in capsys.readouterr().err
    write_run(tmp_path / "run")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert called("watch", tmp_path / "run", "--port", taken.getsockname()[1]) == 2
    assert "cannot listen there" in capsys.readouterr().err


SCENARIO = """
clients:
  - id: a
    tasks: [{name: digits, type: classification, modality: image, domain: digits, source: digits}]
"""


def test_a_live_run_says_where_and_tells_its_page_of_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedtap.reporting.live import companion

    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(SCENARIO)
    told: list[object] = []

    class Beside:
        def __init__(self, folder: Path, listening: socket.socket, *_: object) -> None:
            told.append(folder)
            listening.close()

        def __enter__(self) -> "Beside":
            return self

        def __exit__(self, *_: object) -> None:
            told.append("left")

        def __call__(self, event: dict[str, object]) -> None:
            told.append(event["event"])

    def run(loaded: object, *, observers: list, **_: object) -> dict[str, object]:
        for observer in observers:
            observer({"event": "evaluating", "done": 1, "total": 1})
        return json.loads('{"rows": []}')

    monkeypatch.setattr(companion, "Companion", Beside)
    monkeypatch.setattr(library, "run", run)
    assert called("run", scenario, "--out", tmp_path / "out", "--live") == 0
    assert re.search(r"live report: http://127\.0\.0\.1:\d+/[\w-]+/", capsys.readouterr().err)
    assert told == [tmp_path / "out", "evaluating", "left"]
    assert called("run", scenario, "--port", "8123") == 2
    assert "--port 8123: goes with --live" in capsys.readouterr().err
