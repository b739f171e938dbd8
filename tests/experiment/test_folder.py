"""A run's folder: what it says of itself costs once, however many files say it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fedtap.experiment import folder as module
from fedtap.experiment.folder import RunFolder
from fedtap.reporting.events import Settled
from fedtap.scenario.scenario import load_scenario
from tiny_federation import write_scenario


def test_the_whole_scenario_is_read_once_for_what_every_file_of_a_run_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a file of a client would be clients times clients."""
    asked: list[object] = []
    whole = module.from_here
    monkeypatch.setattr(module, "from_here", lambda *given: asked.append(given) or whole(*given))
    run = RunFolder.described(load_scenario(write_scenario(tmp_path)), method="fedavg", seed=3, out=tmp_path / "run")
    (tmp_path / "run").mkdir()
    for client in run.scenario.clients:
        run.save_outcomes(client, {"tasks": {}})
    assert len(run.scenario.clients) > 1
    assert len(asked) == 1


def test_a_folder_of_another_seed_is_of_another_kind(tmp_path: Path) -> None:
    run = RunFolder.described(load_scenario(write_scenario(tmp_path)), method="fedavg", seed=3, out=tmp_path / "run")
    assert run.kind != replace(run, seed=4).kind
    assert run.kind == replace(run, run="another").kind


def test_what_was_told_of_examples_is_on_the_disk_before_the_run_counts_as_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the results a run is never tested again, whatever a loss of power took; before them all is made anew."""
    run = RunFolder.described(load_scenario(write_scenario(tmp_path)), method="fedavg", seed=3, out=tmp_path / "run")
    waited: list[
        tuple[int, bool]
    ] = []  # of each file that the disk was waited for: which, and whether digests were there

    def wait(handle: int) -> None:
        waited.append((os.fstat(handle).st_ino, (run.path / "digests.json").exists()))

    monkeypatch.setattr(os, "fsync", wait)
    for client in run.scenario.clients:
        run.save_outcomes(client, {"tasks": {}})
    assert not waited
    run.events.write_bytes(b"")
    run.write_results([], None, cost={}, events=Settled(0, ""))
    told = {path.stat().st_ino for path in (run.path / "outcomes").iterdir()}
    assert len(told) == len(run.scenario.clients)
    assert {file for file, with_digests in waited if not with_digests} == told | {
        (run.path / "digests.json").stat().st_ino
    }
