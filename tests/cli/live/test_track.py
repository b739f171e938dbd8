"""``fedtap run --track`` and ``tracking:`` in a scenario: told once over an interruption, and no part of what a run is."""

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

import fedtap as library
from fedtap.reporting.tracking import registry
from fedtap.reporting.tracking.base import About
from fedtap.reporting.tracking.registry import TRACKERS, check_trackers
from fedtap.runtime.errors import UserError
from fedtap.scenario.report import Tracker
from fedtap.scenario.scenario import load_scenario
from tiny_federation import called


@pytest.mark.slow
def test_a_run_is_told_round_by_round_and_is_the_same_run(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[object] = []

    class Diary:
        id = "id-1"

        def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
            told.append((step, "results" if "cost/seconds" in values else "losses"))

        def end(self, how: str) -> None:
            told.append(how)

    def start(about: About, id: str | None) -> Diary:
        told.append(id)
        if about.project == "fails":
            raise ConnectionError("no server")
        return Diary()

    module = types.ModuleType("a_diary")
    module.start = start  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_diary", module)
    monkeypatch.setitem(registry.TRACKERS, "tensorboard", "a_diary")  # type: ignore[arg-type]
    find = registry.importlib.util.find_spec
    monkeypatch.setattr(
        registry.importlib.util, "find_spec", lambda name, *rest: name == "tensorboard" or find(name, *rest)
    )
    plain, tracked, failed = (tmp_path / name for name in ("plain", "tracked", "failed"))
    assert called("run", scenario, "--out", plain) == 0
    assert told == []
    real = library.run

    def interrupted(*arguments, observers, **options):
        def stop(event):
            if event["event"] == "round_started" and event["round"] == 2:
                raise KeyboardInterrupt

        return real(*arguments, observers=[*observers, stop], **options)

    monkeypatch.setattr(library, "run", interrupted)
    assert called("run", scenario, "--out", tracked, "--set", "tracking=[tensorboard]") == 130
    monkeypatch.setattr(library, "run", real)
    assert told == [None, (1, "losses"), "interrupted"]
    assert called("run", scenario, "--out", tracked, "--resume", "--track", "tensorboard") == 0
    assert told[3:] == ["id-1", (2, "losses"), (2, "results"), "finished"]
    capsys.readouterr()
    assert called("run", scenario, "--out", failed, "--track", "tensorboard", "--set", "tracking.project=fails") == 0
    said = capsys.readouterr().err
    assert said.count("tracking: tensorboard failed (ConnectionError: no server); the run goes on") == 1
    for folder in (tracked, failed):
        assert (folder / "results.json").read_bytes() == (plain / "results.json").read_bytes()
        kinds = [json.loads((each / "run.json").read_text())["kind"] for each in (plain, folder)]
        assert kinds[0] == kinds[1]


def test_what_tracks_is_no_part_of_a_scenario_that_makes_runs_equal(scenario: Path) -> None:
    plain = load_scenario(scenario)
    for override in ("tracking=tensorboard", "tracking=[mlflow, wandb]", "tracking.project=ours"):
        assert load_scenario(scenario, [override]).resolved() == plain.resolved()
    assert load_scenario(scenario, ["tracking=[mlflow, wandb]"]).tracking.trackers == ("mlflow", "wandb")
    for wrong in ("tracking=[comet]", "tracking.project=../x", "tracking.server=http://x"):
        with pytest.raises(UserError, match="tracking"):
            load_scenario(scenario, [wrong])


def test_what_is_unknown_or_not_installed_is_refused_before_anything_runs(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(get_args(Tracker)) == set(TRACKERS)
    assert called("run", scenario, "--out", tmp_path / "out", "--track", "wandbb") == 2
    assert "--track: unknown tracker 'wandbb'; did you mean 'wandb'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"package mlflow is not installed; run: .*\[mlflow\]"):
        check_trackers(["mlflow"], "tracking")
