"""Progress in a notebook: what is shown when, and where it is shown at all."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fedtap.reporting.progress.choice import batch_progress, run_progress
from fedtap.reporting.progress.notebook import NotebookBatch, NotebookRun, in_notebook

UPDATE = {
    "event": "update",
    "client": "c1",
    "round": 1,
    "losses": {"a": 0.5},
    "bytes_down": 2000,
    "bytes_up": 1000,
}


class Cell:
    """The output of a cell, and a clock."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.now = 0.0

    def clock(self) -> float:
        return self.now


def test_a_run_has_a_bar_for_each_stage_and_a_line_on_the_last_round() -> None:
    cell = Cell()
    with NotebookRun(4, cell.shown.append, cell.clock) as watch:
        watch({"event": "encoding", "tower": "text", "done": 3, "total": 9})
        watch({"event": "round_started", "round": 1})
        watch(UPDATE)
        cell.now = 10.0
        watch({"event": "round_finished", "round": 1})
        shown = cell.shown[-1]
        assert '<progress max="9" value="3"></progress> encoding (text) 3/9' in shown
        assert '<progress max="4" value="1"></progress> rounds 1/4' in shown
        assert "about 30.0 s left" in shown
        assert "round 1: federated loss 0.500  down 2.0 kB, up 1.0 kB" in shown
        watch({"event": "note", "text": "<b>to be heard</b>"})
    assert "&lt;b&gt;to be heard&lt;/b&gt;" in cell.shown[-1]


def test_events_by_the_thousand_are_not_shown_one_by_one_and_the_last_always_is() -> None:
    cell = Cell()
    with NotebookRun(4, cell.shown.append, cell.clock) as watch:
        for done in range(1000):
            cell.now += 0.001
            watch({"event": "encoding", "tower": "text", "done": done + 1, "total": 1000})
        assert 2 <= len(cell.shown) <= 8
    assert "1000/1000" in cell.shown[-1]


def test_a_batch_has_one_bar_and_a_line_for_each_run_at_work() -> None:
    cell = Cell()
    with NotebookBatch(cell.shown.append, cell.clock) as watch:
        watch({"event": "batch_started", "total": 4, "finished": 1})
        watch({"event": "run_started", "name": "tap-seed0"})
        cell.now = 5.0
        watch({"event": "run_progress", "name": "tap-seed0", "stage": "rounds", "done": 2, "total": 4})
        assert '<progress max="4" value="1"></progress> runs 1/4' in cell.shown[-1]
        assert "tap-seed0: round 2/4" in cell.shown[-1]
        watch({"event": "run_failed", "name": "tap-seed0", "why": "no space left"})
    assert "tap-seed0: failed: no space left" in cell.shown[-1]
    assert "1/4 runs done, 1 failed" in cell.shown[-1]


def kernel(monkeypatch: pytest.MonkeyPatch, **shell: Any) -> list[str]:
    """Put an IPython in place whose shell has these attributes, and return what is displayed."""
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(**shell))

    def first(html: str, display_id: bool) -> SimpleNamespace:
        shown.append(html)
        return handle

    display = SimpleNamespace(HTML=str, display=first)
    monkeypatch.setitem(sys.modules, "IPython", ipython)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", display)  # type: ignore[arg-type]
    return shown


def test_a_notebook_is_a_kernel_and_not_any_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    kernel(monkeypatch)
    assert not in_notebook()
    kernel(monkeypatch, kernel=object())
    assert in_notebook()


def test_a_notebook_shows_progress_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = kernel(monkeypatch, kernel=object())
    with run_progress(None, 3) as observers:
        observers[0]({"event": "round_started", "round": 1})
    assert "rounds 0/3" in shown[-1]
    with batch_progress(None) as observers:
        observers[0]({"event": "batch_started", "total": 2, "finished": 0})
    assert "0/2 runs done" in shown[-1]
    before = list(shown)
    with run_progress(None, 3):
        pass  # it was refused before it began
    with run_progress(False, 3) as observers:
        assert observers == []
    assert shown == before


def test_a_script_is_silent_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with run_progress(None, 3) as observers, batch_progress(None) as more:
        assert observers == more == []
    with run_progress(True, 3) as observers:
        observers[0]({"event": "note", "text": "to be heard"})
    with batch_progress(True) as observers:
        observers[0]({"event": "run_started", "name": "tap-seed0"})
    assert capsys.readouterr().err.splitlines() == ["to be heard", "tap-seed0: started"]
