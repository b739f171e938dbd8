"""Progress of a run: live bars on a terminal, plain lines elsewhere. Both are observers of its events.

Not here: a notebook's (notebook.py), and who shows which (choice.py).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fedtap.reporting.html.formatting import human_seconds
from fedtap.reporting.progress.round_summary import RoundSummary
from fedtap.reporting.remarks import KINDS, about_data
from fedtap.runtime.text import neutral

STAGES = {
    "personalising": "personalising clients",
    "evaluating": "evaluating clients",
    "timing": "timing kinds of clients",
}
DATA_LINES = 12  # on clients' data, so many are shown
LOST = ("failed", "rejected", "refused", "unchanged")


def lost(event: Mapping[str, Any]) -> str:
    """Return a line on a client whose answer was lost, a node that was not let in, or a round that came to nothing."""
    if event["event"] == "unchanged":
        return f"round {event['round']} changes nothing: {event['replies']} of {event['min_replies']} replies"
    who = event["client"] if "client" in event else f"node {event['node']}"
    return f"{who}: {event['event']}: {event['why']}"


class DataLines:
    """Picks what is said of clients' data: the first lines of a run, and where the rest stands."""

    def __init__(self) -> None:
        self._left = DATA_LINES

    def take(self, event: Mapping[str, Any]) -> list[str]:
        """Return the lines to show of an event on clients' data."""
        if self._left < 0:
            return []
        lines = [f"{who}: {line}" for who, line in about_data(event)]
        shown = lines[: self._left]
        self._left -= len(lines)
        return shown if self._left >= 0 else [*shown, "more on the data: in the report, and in events.jsonl"]


class Watcher(Protocol):
    """What watches a run: entered before it, called with its events, left after it."""

    def __enter__(self) -> Watcher:
        """Start."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Take note of an event."""


def watcher(rounds: int, console: Console) -> Watcher:
    """Return what suits a console: live bars on a terminal, plain lines elsewhere."""
    return LiveProgress(rounds, console) if console.is_terminal else PlainProgress(rounds, console)


class Stages(ABC):
    """An observer that keeps a bar for each stage that takes time; how bars and lines look is left to its kinds."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._summary = RoundSummary()
        self._data = DataLines()

    @abstractmethod
    def _move(self, name: str, done: int, total: int) -> None:
        """Move the bar of a stage, or begin it."""

    @abstractmethod
    def _say(self, line: str) -> None:
        """Show a line that stays."""

    @abstractmethod
    def _remark(self, line: str) -> None:
        """Show a line in the place of the last one."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Move the bar of the event's stage."""
        kind = event["event"]
        if kind == "encoding":
            self._move(f"encoding ({event['tower']})", event["done"], event["total"])
        elif kind == "reading":
            self._move(f"looking at pictures ({event['source']})", event["done"], event["total"])
        elif kind in STAGES:
            self._move(STAGES[kind], event["done"], event["total"])
        elif kind == "round_started":
            self._summary = RoundSummary()
            self._move("rounds", event["round"] - 1, self._rounds)
        elif kind == "round_finished":
            self._remark(f"round {event['round']}: {self._summary.line()}")
            self._move("rounds", event["round"], self._rounds)
        elif kind == "note" and "about" not in event:
            self._say(event["text"])
        elif kind in KINDS:
            for line in self._data.take(event):
                self._say(line)
        else:
            self._summary.add(event)
            if kind in LOST:
                self._say(lost(event))


class LiveProgress(Stages):
    """A bar for each stage that takes time, and below them a line on the last finished round."""

    def __init__(self, rounds: int, console: Console) -> None:
        super().__init__(rounds)
        self._bars: dict[str, TaskID] = {}
        self._note = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
        )
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)

    def __enter__(self) -> LiveProgress:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _say(self, line: str) -> None:
        self._live.console.print(neutral(line), markup=False, soft_wrap=True)

    def _remark(self, line: str) -> None:
        self._note = line

    def _render(self) -> Group:
        return Group(self._progress, Text(self._note, style="dim")) if self._note else Group(self._progress)

    def _move(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, completed=done)
        self._progress.update(self._bars[name], completed=done, total=total)


class PlainProgress:
    """A line for each round and for each stage that is done, with the time that the remaining rounds will take."""

    def __init__(self, rounds: int, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._rounds = rounds
        self._console = console
        self._clock = clock
        self._summary = RoundSummary()
        self._data = DataLines()
        self._began = 0.0
        self._finished: list[float] = []

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: dict[str, Any]) -> None:
        """Write the event's line, if it has one."""
        kind = event["event"]
        if kind == "encoding" and event["done"] == event["total"] and event["total"]:
            self._write(f"encoded {event['total']} examples ({event['tower']})")
        elif kind in STAGES and event["done"] == event["total"]:
            self._write(f"{STAGES[kind]}: {event['total']} done")
        elif kind == "round_started":
            self._summary, self._began = RoundSummary(), self._clock()
        elif kind == "round_finished":
            self._finished.append(self._clock() - self._began)
            self._write(self._round(event))
        elif kind == "note" and "about" not in event:
            self._write(event["text"])
        elif kind in KINDS:
            for line in self._data.take(event):
                self._write(line)
        else:
            self._summary.add(event)
            if kind in LOST:
                self._write(lost(event))

    def _round(self, event: Mapping[str, Any]) -> str:
        left = self._rounds - event["round"]
        remaining = left * sum(self._finished) / len(self._finished)
        parts = [f"round {event['round']}/{self._rounds}", self._summary.line(), human_seconds(self._finished[-1])]
        if left:
            parts.append(f"about {human_seconds(remaining)} of rounds left")
        return "  ".join(part for part in parts if part)

    def _write(self, line: str) -> None:
        self._console.print(neutral(line), markup=False, soft_wrap=True)
