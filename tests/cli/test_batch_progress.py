"""What is said while many runs go on."""

import io

from rich.console import Console

from fedtap.reporting.progress.batch import BatchProgress


def events(watch: BatchProgress, clock: list[float]) -> None:
    watch({"event": "note", "text": "'local' is added"})
    watch({"event": "batch_started", "total": 4, "finished": 1})
    watch({"event": "run_started", "name": "tap-seed0"})
    watch({"event": "run_progress", "name": "tap-seed0", "stage": "rounds", "done": 2, "total": 4})
    clock[0] = 20.0
    watch({"event": "run_finished", "name": "tap-seed0"})
    watch({"event": "run_started", "name": "tap-seed1"})
    watch({"event": "run_failed", "name": "tap-seed1", "why": "no space left"})


def test_plain_lines() -> None:
    written, clock = io.StringIO(), [10.0]
    watch = BatchProgress(Console(file=written, width=200), clock=lambda: clock[0])
    with watch:
        events(watch, clock)
    assert written.getvalue().splitlines() == [
        "'local' is added",
        "1 of 4 runs finished before",
        "tap-seed0: started",
        "tap-seed0: done in 10.0 s (2/4, about 20.0 s left)",
        "tap-seed1: started",
        "tap-seed1: failed: no space left",
    ]


def test_time_left_is_that_of_the_runs_so_far() -> None:
    clock = [0.0]
    watch = BatchProgress(Console(file=io.StringIO()), clock=lambda: clock[0])
    watch({"event": "batch_started", "total": 3, "finished": 0})
    assert watch.time_left() is None
    for name in ("a", "b"):
        watch({"event": "run_started", "name": name})
        watch({"event": "run_progress", "name": name, "stage": "rounds", "done": 5, "total": 8})  # half of a run
    clock[0] = 10.0
    # a run takes 20 s: two halves and a whole one, by two
    assert watch.time_left() == 20.0


def test_the_live_view_names_what_runs_and_where_it_is() -> None:
    written, clock = io.StringIO(), [0.0]
    console = Console(file=written, width=120, force_terminal=True, color_system=None)
    with BatchProgress(console, clock=lambda: clock[0]) as watch:
        events(watch, clock)
        watch({"event": "run_started", "name": "ditto-seed0"})
        watch({"event": "run_progress", "name": "ditto-seed0", "stage": "rounds", "done": 3, "total": 15})
        watch({"event": "batch_stopping", "running": 1})
    assert "ditto-seed0  round 3/15" in written.getvalue()
    assert "2/4 runs done, 1 failed" in written.getvalue()
    assert "Ctrl-C again kills" in written.getvalue()
