"""Trackers beside a run: told each round once, resumed or not; one that fails, or takes no end, is given up and stops nothing."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedtap.reporting.tracking import observer
from fedtap.reporting.tracking.base import About, Ending
from fedtap.reporting.tracking.observer import Tracking
from fedtap.reporting.tracking.state import FILE, TrackingState
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import write_sealed_json
from synthetic_run import write_run

FINISHED = {"event": "round_finished", "round": 1, "clients": 1}


class Diary:
    """A tracker that remembers what it was told, and fails when it is told of a certain round."""

    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at = fails_at
        self.told: list[object] = []
        self.about: About | None = None

    def __call__(self, about: About, id: str | None) -> "Diary":
        self.about = about
        self.told.append("begun" if id is None else f"goes on with {id}")
        return self

    @property
    def id(self) -> str:
        return "id-1"

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        if step == self.fails_at:
            raise ConnectionError("no such server\nat all")
        self.told.append(step if "cost/seconds" not in values else "results")

    def end(self, how: Ending) -> None:
        self.told.append(how)


def track(folder: Path, said: list[str], **trackers: object) -> Tracking:
    return Tracking(
        folder,
        list(trackers),
        project=None,
        offline=False,
        say=said.append,
        starters=lambda name: trackers[name],  # type: ignore[arg-type,return-value]
    )


def test_a_tracker_hears_of_every_round_once_and_a_resumed_run_goes_on_in_the_same(tmp_path: Path) -> None:
    diary, said = Diary(), list[str]()
    write_run(tmp_path, finished=False)  # four of eight rounds
    with pytest.raises(KeyboardInterrupt), track(tmp_path, said, diary=diary) as tracking:  # noqa: PT012
        tracking(FINISHED)
        raise KeyboardInterrupt
    assert diary.told == ["begun", 1, 2, 3, 4, "interrupted"]
    assert diary.about is not None
    assert (diary.about.name, diary.about.project) == ("synthetic-tap-seed3", "synthetic")
    write_run(tmp_path)
    diary.told.clear()
    with track(tmp_path, said, diary=diary):
        pass
    assert diary.told == ["goes on with id-1", 5, 6, 7, 8, "results", "finished"]
    diary.told.clear()
    with track(tmp_path, said, diary=diary):  # asked once more for a run that is done
        pass
    assert diary.told == []
    assert said == []


def test_one_that_fails_is_said_once_and_the_others_and_the_run_go_on(tmp_path: Path) -> None:
    good, bad, said = Diary(), Diary(fails_at=3), list[str]()
    write_run(tmp_path)
    with track(tmp_path, said, good=good, bad=bad) as tracking:
        tracking(FINISHED)
        tracking(FINISHED)
    assert good.told == ["begun", *range(1, 9), "results", "finished"]
    assert bad.told == ["begun", 1, 2]
    assert len(said) == 1
    assert said[0].startswith("tracking: bad failed (ConnectionError: no such server at all); the run goes on")
    bad.fails_at = 0
    with track(tmp_path, said, bad=bad):
        pass
    assert bad.told[3:] == ["goes on with id-1", *range(3, 9), "results", "finished"]


def test_one_that_takes_no_end_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "PATIENCE", 0.2)
    forever, said = threading.Event(), list[str]()

    def stuck(about: About, id: str | None) -> Diary:
        forever.wait(60)
        raise TimeoutError

    write_run(tmp_path)
    with track(tmp_path, said, stuck=stuck):
        pass
    forever.set()
    assert said == ["tracking: stuck did not take all within 0 seconds; the run has nothing to do with that"]


def test_where_no_run_was_begun_nothing_is_told_or_written(tmp_path: Path) -> None:
    diary, said = Diary(), list[str]()
    with pytest.raises(UserError), track(tmp_path / "new", said, diary=diary):
        raise UserError("wrong input")
    assert (diary.told, said, (tmp_path / "new").exists()) == ([], [], False)


@pytest.mark.parametrize("trackers", [{"x": {"id": "../../etc", "round": 0, "final": 0}}, {"x": {"id": "a"}}, []])
def test_what_a_run_does_not_write_is_refused(tmp_path: Path, trackers: object) -> None:
    write_sealed_json(tmp_path / FILE, {"trackers": trackers}, {"what": "tracking", "run": "r"})
    with pytest.raises(UserError, match="not what a run writes"):
        TrackingState(tmp_path, "r")


def test_damage_and_another_runs_file_are_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    TrackingState(tmp_path, "r").begun("x", "id")
    with pytest.raises(UserError, match="is of run 'r'"):
        TrackingState(tmp_path, "other")
    told = json.loads((tmp_path / FILE).read_text())
    told["trackers"]["x"]["round"] = 7
    (tmp_path / FILE).write_text(json.dumps(told))
    said: list[str] = []
    write_run(tmp_path)
    with track(tmp_path, said, x=Diary()):
        pass
    assert len(said) == 1
    assert said[0].startswith("tracking: given up (UserError")
