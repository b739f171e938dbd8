"""Tells trackers of a run, beside it: in a thread of its own, from what the run has written down.

So a resumed run, one that is tracked from its middle on, and one whose rounds another process does are told alike. A tracker that
fails is given up for this time, which is said once; what it missed it is told when the run is next taken up.
Not here: what is told (values.py).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from fedtap.reporting.live.follow import Follower
from fedtap.reporting.run.record import read_description, read_run
from fedtap.reporting.tracking.base import About, Ending, StartTracker, Tracker
from fedtap.reporting.tracking.registry import starter
from fedtap.reporting.tracking.state import TrackingState
from fedtap.reporting.tracking.values import complete_rounds, final_values, parameters, round_values
from fedtap.runtime.manifest import RECORD
from fedtap.runtime.text import one_line

PATIENCE, HURRY = 60.0, 10.0
"""Seconds that trackers have after the end of a run to take what they have not yet, and after an interruption."""


class Tracking:
    """An observer of a run that tells trackers; to be entered before the run and left after it.

    Parameters
    ----------
    folder
        The run's.
    names
        Of the trackers.
    project
        For :class:`About`; by default the scenario's name.
    offline
        For :class:`About`.
    say
        Called with a line where a tracker was given up, by the thread of the run.
    starters
        What begins a run in each tracker.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        project: str | None,
        offline: bool,
        say: Callable[[str], None],
        starters: Callable[[str], StartTracker] = starter,
    ) -> None:
        self._folder, self._names, self._project, self._offline = folder, tuple(names), project, offline
        self._say, self._starters = say, starters
        self._log = Follower(folder / "events.jsonl")
        self._trackers: dict[str, Tracker] = {}
        self._lost: set[str] = set()
        self._state: TrackingState | None = None
        self._config: Mapping[str, Any] = {}
        self._asked: queue.SimpleQueue[Ending | None] = queue.SimpleQueue()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)

    def __enter__(self) -> Tracking:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        how: Ending = "finished" if kind is None else "failed" if issubclass(kind, Exception) else "interrupted"
        self._asked.put(how)
        seconds = HURRY if how == "interrupted" else PATIENCE
        self._thread.join(seconds)
        self._tell()
        if self._thread.is_alive():
            left = ", ".join(name for name in self._names if name not in self._lost)
            self._say(
                f"tracking: {left} did not take all within {seconds:.0f} seconds; the run has nothing to do with that"
            )

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Have the trackers told of a round that has ended; nothing is waited for."""
        if event.get("event") == "round_finished":
            self._asked.put(None)
        self._tell()

    def _tell(self) -> None:
        while not self._lines.empty():
            self._say(self._lines.get())

    def _work(self) -> None:
        how = None
        while how is None:
            how = self._asked.get()
            try:
                self._catch_up(how)
            except Exception as error:  # whatever it is, the run has nothing to do with it
                self._lines.put(f"tracking: given up ({_words(error)}); the run goes on")
                return

    def _catch_up(self, how: Ending | None) -> None:
        """Tell every tracker what it has not been told."""
        if not (self._folder / RECORD).exists():
            return  # no run was begun
        if self._state is None:
            self._begin()
        self._log.read()
        for name in self._names:
            if name not in self._lost:
                try:
                    self._tell_one(name, how)
                except Exception as error:  # of whatever library, or of the network
                    self._lost.add(name)
                    self._lines.put(
                        f"tracking: {name} failed ({_words(error)}); the run goes on without it, and it is told what it "
                        "missed when the run is taken up again (--resume)"
                    )

    def _begin(self) -> None:
        run, _ = read_description(self._folder)
        self._config = run.get("config") or {}
        self._about = About(
            folder=self._folder,
            name=f"{self._config.get('name', 'run')}-{run.get('method')}-seed{run.get('seed')}",
            project=self._project or str(self._config.get("name") or "fedtap"),
            parameters=parameters(run),
            offline=self._offline,
        )
        self._state = TrackingState(self._folder, str(run.get("run")))

    def _tell_one(self, name: str, how: Ending | None) -> None:
        assert self._state is not None
        known = self._state[name]
        rounds = [number for number in complete_rounds(self._log.events) if known is None or number > known.round]
        over = int(self._config.get("rounds") or 0)
        final = how == "finished" and (known is None or known.final < over)
        if name not in self._trackers:
            if not rounds and not final:
                return
            self._trackers[name] = self._starters(name)(self._about, None if known is None else known.id)
            self._state.begun(name, self._trackers[name].id)
        tracker = self._trackers[name]
        at = 0.0
        for number in rounds:
            values, at = round_values(self._log.events, self._config, number)
            tracker.log(number, values, at=at)
            self._state.told(name, round=number)
        if final:
            at = at or float(self._log.events[-1].get("time") or 0.0) if self._log.events else 0.0
            tracker.log(over, final_values(read_run(self._folder)), at=at)
        if how is not None:
            tracker.end(how)
        if final:
            self._state.told(name, final=over)


def _words(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, 160)
