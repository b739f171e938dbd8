"""Progress in a notebook: bars as HTML in one place of a cell's output, written anew. It needs what every notebook has, IPython.

Not here: what bars there are (run.py, batch.py), and who shows which (choice.py).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from fedtap.reporting.html.formatting import human_seconds
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.templating import render
from fedtap.reporting.progress.batch import Batch
from fedtap.reporting.progress.run import Stages

PAUSE = 0.2
"""Seconds between two looks at the least: events come by the thousand."""
Show = Callable[[str], None]
"""Takes HTML, which is to stand in the place of what stood there before."""


def in_notebook() -> bool:
    """Tell whether this code runs in the kernel of a notebook; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def place() -> Show:
    """Return a new place in the output of the cell that is running; it is there once something is shown in it."""
    from IPython.display import HTML, display

    handle: Any = None

    def show(html: str) -> None:
        nonlocal handle
        if handle is None:
            handle = display(HTML(html), display_id=True)
        else:
            handle.update(HTML(html))

    return show


class Board:
    """Bars and lines in one place; what is shown too soon after the last look is shown with the next, or at the end."""

    def __init__(self, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._looked = float("-inf")
        self.lines: list[str] = []
        self.below: list[str] = []

    def look(self, bars: Sequence[dict[str, Any]], heading: str = "", *, now: bool = False) -> None:
        """Show what there is; ``now`` however soon after the last time."""
        if not (bars or self.lines):  # a run that was refused leaves no empty place
            return
        if now or self._clock() - self._looked >= PAUSE:
            self._looked = self._clock()
            self._show(
                render("notebook.html", heading=heading, lines=self.lines, bars=bars, table=Markup(), below=self.below)
            )


class NotebookRun(Stages):
    """A bar for each stage of a run, and below them a line on the last finished round."""

    def __init__(self, rounds: int, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(rounds)
        self._clock = clock
        self._bars: dict[str, tuple[int, int, float]] = {}  # done, total, when it began
        self._board = Board(show, clock)

    def __enter__(self) -> NotebookRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.look(self._shown(), now=True)

    def _move(self, name: str, done: int, total: int) -> None:
        began = self._bars[name][2] if name in self._bars else self._clock()
        self._bars[name] = done, total, began
        self._board.look(self._shown())

    def _say(self, line: str) -> None:
        self._board.lines.append(line)
        self._board.look(self._shown())

    def _remark(self, line: str) -> None:
        self._board.below = [line]

    def _shown(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "done": done, "total": total, "left": self._left(done, total, began)}
            for name, (done, total, began) in self._bars.items()
        ]

    def _left(self, done: int, total: int, began: float) -> str:
        if not 0 < done < total:
            return ""
        return f"about {human_seconds((self._clock() - began) / done * (total - done))} left"


class NotebookBatch(Batch):
    """A bar for all runs of a batch, and one for each that is at work."""

    def __init__(self, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._board = Board(show, clock)

    def __enter__(self) -> NotebookBatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look(now=True)

    def __call__(self, event: dict[str, Any]) -> None:
        """Take note of an event, and show it."""
        super().__call__(event)
        self._look()

    def _say(self, line: str) -> None:
        self._board.lines.append(line)

    def _plain(self, line: str) -> None:
        """Leave it out: the bars show it."""

    def _look(self, *, now: bool = False) -> None:
        self._board.below = [f"{name}: {what}" for name, (what, _, _) in self._running.items()]
        bars = [{"name": "runs", "done": self._done, "total": self._total, "left": ""}] if self._total else []
        self._board.look(bars, self.head() if self._total else "", now=now)
