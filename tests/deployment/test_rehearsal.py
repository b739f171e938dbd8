"""What a rehearsal hands to Flower's processes, and how it follows them; for the processes see e2e/test_flower_processes.py."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedtap as library
from fedtap.deployment.rehearsal import _follow, as_written, going_on
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install
from fedtap.runtime.watchdog import Mark
from fedtap.scenario.scenario import load_scenario
from tiny_federation import settings, write_scenario


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "federation"
    folder.mkdir()
    backbone = {**settings()["backbone"], "path": "weights"}
    evaluation = {"cross_examples": 8, "bertscore_encoder": "encoder"}
    return write_scenario(folder, population=6, evaluation=evaluation, backbone=backbone)


def test_a_scenario_says_the_same_when_it_is_read_from_elsewhere(scenario: Path, tmp_path: Path) -> None:
    for name in ("encoder", "weights"):
        (scenario.parent / name).mkdir()
    loaded = load_scenario(scenario)
    path = tmp_path / "elsewhere" / "scenario.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(as_written(loaded)))
    again = load_scenario(path)
    assert again.clients == loaded.clients
    assert len(again.participants) == 6
    assert again.backbone.path == str((scenario.parent / "weights").resolve())
    assert again.evaluation.bertscore_encoder == str((scenario.parent / "encoder").resolve())
    assert load_scenario(path).resolved() == load_scenario(path, folder=tmp_path).resolved()


@pytest.mark.parametrize(
    ("statuses", "going"),
    [(["running"], True), (["pending"], True), (["finished:completed"], False), (["finished:failed", "running"], True)],
)
def test_whether_a_run_goes_on_is_read_from_flowers_list(statuses: list[str], going: bool) -> None:
    said = "a line before\n" + json.dumps({"success": True, "runs": [{"status": status} for status in statuses]})
    assert going_on(said) == going


def test_events_are_followed_line_by_line_and_over_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtap.deployment.rehearsal.LOOK", 0.0)
    log, results = tmp_path / "events.jsonl", tmp_path / "results.json"
    following = _follow(log, results, tmp_path / "fault.json")
    assert next(following) is None
    log.write_text('{"event": 1}\n{"event": 2}\n{"eve')
    assert [next(following), next(following), next(following)] == [{"event": 1}, {"event": 2}, None]
    log.write_text('{"event": 1}\n')  # a server that was started again cuts off what it did not commit
    assert next(following) is None
    log.write_text('{"event": 1}\n{"event": 3}\n')
    results.touch()
    assert list(following) == [{"event": 3}]


def test_without_flower_the_extra_is_named(scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fedtap.engines.flower.nodes", None)
    with pytest.raises(UserError) as told:
        library.run(scenario, out=tmp_path / "run", engine="flower")
    assert install("flower") in str(told.value)
    assert not (tmp_path / "run").exists()


def test_what_is_wrong_is_said_before_a_process_is_started(scenario: Path, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("flwr", reason="Flower needs Python 3.11")
    monkeypatch.setattr("subprocess.Popen", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "note.txt").touch()
    with pytest.raises(UserError, match="is not empty and holds no run"):
        library.run(scenario, out=tmp_path / "run", engine="flower")
    with pytest.raises(UserError, match="did you mean 'flower'"):
        library.run(scenario, out=tmp_path / "run", engine="flour")


def test_no_file_is_touched_while_processes_of_another_attempt_live(scenario: Path, tmp_path: Path) -> None:
    pytest.importorskip("flwr", reason="Flower needs Python 3.11")
    out = tmp_path / "run"
    mark = Mark.of(out / "checkpoint" / "flower" / "processes").environment()
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **mark}) as sleeping:
        try:
            with pytest.raises(UserError, match=f"process {sleeping.pid} is at work there for process {os.getpid()}"):
                library.run(scenario, out=out, engine="flower")
            assert sleeping.poll() is None
        finally:
            sleeping.kill()
    assert not out.exists()
