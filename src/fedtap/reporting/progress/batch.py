"""Progress of many runs: how many are done, where each running one is, and how much time is left. An observer of a batch.

Not here: a notebook's (notebook.py), and who shows which (choice.py).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fedtap.reporting.html.formatting import human_seconds, plural
from fedtap.runtime.text import neutral

STAGES = {"rounds": (0.0, 0.8), "personalising": (0.8, 0.1), "evaluating": (0.9, 0.1)}
"""Where in a run a stage begins, and how much of it it is; rough, for the time left."""


class Batch(ABC):
    """An observer that knows how far a batch is; how that looks is left to its kinds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = self._done = self._failed = 0
        self._running: dict[str, tuple[str, float, float]] = {}  # name -> what it does, share done, when it began
        self._spent: list[float] = []
        self._stopping = False
        self._widest = 0

    @abstractmethod
    def _say(self, line: str) -> None:
        """Show a line that stays."""

    @abstractmethod
    def _plain(self, line: str) -> None:
        """Show a line that stays, where nothing else shows how far each run is."""

    @property
    def done(self) -> int:
        """How many runs are finished, those of earlier attempts included."""
        return self._done

    @property
    def total(self) -> int:
        """How many runs there are."""
        return self._total

    def __call__(self, event: dict[str, Any]) -> None:
        """Take note of an event."""
        kind, name = event["event"], event.get("name", "")
        if kind == "note":
            self._say(event["text"])
        elif kind == "batch_started":
            self._total, self._done = event["total"], event["finished"]
            if self._done:
                self._say(f"{self._done} of {plural(self._total, 'run')} finished before")
        elif kind == "run_started":
            self._running[name] = ("starting", 0.0, self._clock())
            self._plain(f"{name}: started")
        elif kind == "run_progress":
            self._move(name, event["stage"], event["done"], event["total"])
        elif kind == "run_finished":
            self._spent.append(self._clock() - self._running.pop(name)[2])
            self._done += 1
            left = self.time_left()
            ahead = f", about {human_seconds(left)} left" if left else ""
            self._plain(f"{name}: done in {human_seconds(self._spent[-1])} ({self._done}/{self._total}{ahead})")
        elif kind == "run_failed":
            self._running.pop(name, None)
            self._failed += 1
            self._say(f"{name}: failed: {event['why']}")
        elif kind == "batch_stopping":
            self._stopping = True
            runs = plural(event["running"], "run")
            self._say(f"stopping {runs} at the end of a round; Ctrl-C again kills, and loses the round")

    def time_left(self) -> float | None:
        """Return the seconds that all the rest will take, from the runs so far; None before anything is known."""
        now = self._clock()
        parts = [(share, now - began) for _, share, began in self._running.values()]
        known = self._spent or [spent / share for share, spent in parts if share > 0.05]
        if not known:
            return None
        whole = sum(known) / len(known)
        waiting = self._total - self._done - self._failed - len(parts)
        left = waiting * whole + sum(whole * (1 - share) for share, _ in parts)
        self._widest = max(self._widest, len(parts))
        return left / max(1, min(self._widest, waiting + len(parts)))

    def _move(self, name: str, stage: str, done: int, total: int) -> None:
        begins, part = STAGES.get(stage, (0.0, 0.0))
        share = begins + part * done / max(total, 1)
        word = "round" if stage == "rounds" else stage
        self._widest = max(self._widest, len(self._running))
        self._running[name] = (f"{word} {done}/{total}", share, self._running[name][2])

    def head(self) -> str:
        """Return how many runs are done, and how much time is left."""
        left = self.time_left()
        head = f"{self._done}/{plural(self._total, 'run')} done"
        head += f", {self._failed} failed" if self._failed else ""
        head += f", about {human_seconds(left)} left" if left else ""
        return head + (", stopping" if self._stopping else "")


class BatchProgress(Batch):
    """A live view on a terminal, a line for each event that matters elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> BatchProgress:
        if self._console.is_terminal:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def _render(self) -> Group:
        width = max((len(name) for name in self._running), default=0)
        lines = [
            Text(neutral(f"  {name:<{width}}  {what}"), style="dim") for name, (what, _, _) in self._running.items()
        ]
        return Group(Text(self.head()), *lines)

    def _say(self, line: str) -> None:
        console = self._live.console if self._console.is_terminal else self._console
        console.print(neutral(line), markup=False, soft_wrap=True)

    def _plain(self, line: str) -> None:
        if not self._console.is_terminal:
            self._say(line)
