"""A run's folder as a page that is current: followed cheaply, made anew when something has happened and somebody asks.

Not here: who may ask (server.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from fedtap.reporting.html.page import Live, page
from fedtap.reporting.live.condition import Condition, condition
from fedtap.reporting.live.follow import Follower
from fedtap.reporting.live.sections import beginning, going_on, status
from fedtap.reporting.run.pages import FOLDER, ClientPage, client_pages
from fedtap.reporting.run.record import UNCHECKED, RunRecord, read_description, read_run
from fedtap.reporting.run.report import UNFIT, render, render_page, unfit
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import RECORD

LOOK = 0.5  # seconds between two looks at the folder, however many ask
SHARE = 20
"""A page is made anew once so many times as long has passed as it took of a core: so it takes a twentieth of one at the most."""
HOME = ""
"""The name of the report; pages of single clients have theirs."""
BACK = "report.html"


class Shown(NamedTuple):
    """A page as it stands: what tells it from earlier ones, and its text in UTF-8."""

    tag: str
    text: bytes


class Made(NamedTuple):
    """A page that was made: from which state of the folder, when, in how many seconds of a core, and whether the run went on."""

    version: int
    at: float
    took: float
    at_work: bool
    shown: Shown


class Watched:
    """A run's folder, looked at when somebody asks.

    Parameters
    ----------
    folder
        Of the run, which need not have begun.
    clock
        Returns seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self._log = Follower(folder / "events.jsonl")
        self._stage: Mapping[str, Any] | None = None
        self._lives = False
        self._condition = Condition.NOTHING
        self._fault = ""
        self._version = 0
        self._looked = float("-inf")
        self._marks: object = None
        self._described: tuple[object, Mapping[str, Any], bool] | None = None
        self._taken: tuple[int, RunRecord | None, Mapping[str, ClientPage]] = (-1, None, {})
        self._shown: dict[str, Made] = {}

    def tell(self, stage: Mapping[str, Any]) -> None:
        """Take note of an event on progress, which stands in no log."""
        with self._lock:
            self._stage = stage
            self._version += 1

    def lives(self, alive: bool) -> None:
        """Take note that whoever makes the run is there, or is gone; then the folder is looked at at once."""
        with self._lock:
            self._lives, self._looked = alive, float("-inf")

    @property
    def condition(self) -> Condition:
        """How the run stands."""
        with self._lock:
            self._look()
            return self._condition

    def page(self, name: str = HOME) -> Shown | None:
        """Return a page as it stands now, or as it stood a moment ago; None if there is none of that name."""
        with self._lock:
            self._look()
            name = HOME if name == BACK else name
            made = self._shown.get(name)
            if made is not None and (made.version == self._version or self._may_wait(made)):
                return made.shown
            began = time.thread_time()
            record, pages = self._take()
            if name != HOME and name not in pages:
                return None
            text = self._text(record, pages, name).encode()
            took = time.thread_time() - began
            shown = Shown(f'"{self._version}"', text)
            self._shown[name] = Made(self._version, self._clock(), took, self._condition.at_work, shown)
            return shown

    def _may_wait(self, made: Made) -> bool:
        """Tell whether a page that is not current is good enough for now; never once the run has ended."""
        return self._condition.at_work == made.at_work and self._clock() - made.at < SHARE * made.took

    def _look(self) -> None:
        """See whether anything has changed in the folder; nothing is made of it here."""
        if self._clock() - self._looked < LOOK:
            return
        self._looked = self._clock()
        now = condition(self._folder, lives=self._lives)
        changed = False
        try:
            changed = self._log.read()
            if changed:
                self._fault = ""
        except UserError as error:
            changed, self._fault = True, str(error)
        if changed and self._log.events and self._log.events[-1]["event"] != "personalised":
            self._stage = None  # what is written down has overtaken it
        marks = (now, *map(self._mark, (RECORD, "results.json")))
        if changed or marks != self._marks:
            self._condition, self._marks = now, marks
            self._version += 1

    def _mark(self, name: str) -> tuple[int, int, int] | None:
        try:
            about = (self._folder / name).stat()
        except OSError:
            return None
        return about.st_ino, about.st_size, about.st_mtime_ns

    def _take(self) -> tuple[RunRecord | None, Mapping[str, ClientPage]]:
        """Return the run as it stands, with its results only once nobody is at work on them, and the pages of its clients."""
        if self._taken[0] != self._version:
            try:
                record = self._read()
                pages = {} if record is None else {f"{FOLDER}/{each.file}": each for each in client_pages(record)}
            except UserError as error:
                self._fault, record, pages = str(error), None, {}
            except UNFIT as error:
                self._fault, record, pages = f"{unfit(self._folder, error)}.", None, {}
            self._taken = (self._version, record, pages)
        return self._taken[1:]

    def _read(self) -> RunRecord | None:
        if self._condition is Condition.ENDED:
            return replace(read_run(self._folder), beside=False)
        mark = self._mark(RECORD)
        if mark is None:
            return None
        if self._described is None or self._described[0] != mark:
            self._described = (mark, *read_description(self._folder))
        _, run, checked = self._described
        return RunRecord(self._folder, run, list(self._log.events), None, None, checked=checked, beside=False)

    def _text(self, record: RunRecord | None, pages: Mapping[str, ClientPage], name: str) -> str:
        if record is None:
            return self._without_run()
        try:
            live = self._live(record)
            if name != HOME:
                return render_page(pages[name], Live(live.notice))
            return render(record, list(pages.values()), live)
        except UNFIT as error:  # what is typed and bounded one by one may still not fit together
            self._fault = f"{unfit(self._folder, error)}."
            return self._without_run()

    def _live(self, record: RunRecord) -> Live:
        doubt = "" if record.checked else f"{UNCHECKED}."
        if self._condition is Condition.ENDED:
            return Live(status(Condition.ENDED, more=(doubt,)))
        return going_on(record, self._condition, self._stage, (doubt, self._fault))

    def _without_run(self) -> str:
        return page(
            kind="Federated run",
            title=f"fedtap · {self._folder.name}",
            heading=self._folder.name or "run",
            about="",
            facts="",
            figures=[],
            notice=status(self._condition, more=(self._fault,)),
            summary=("What happened", ["Nothing that can be shown." if self._fault else "Nothing yet."]),
            sections=[beginning(self._stage)],
            footer=("Served by fedtap.",),
            live=True,
        )
