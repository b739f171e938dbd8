"""The event log: one JSON object a line, appended while a run goes on and cut back where a run is resumed.

Not here: what the events mean (``rounds.py`` of the federation makes them) and how they are shown (``report.py``, the
command line).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import parse, read_bounded
from fedtap.runtime.sealed import sha256_of
from fedtap.runtime.storage import raise_full

TRANSIENT = frozenset({"encoding", "evaluating", "personalising"})
"""Events that tell of progress only: they come by the thousand and are of no use afterwards, so the log leaves them out."""

LOST = frozenset({"failed", "rejected"})
"""Events of a client that was asked and is not counted in its round."""

MAX_LOG = 2_000_000_000  # bytes: some millions of events
_MEND = "restore the file from a copy, or start the run anew with another --out"


@dataclass(frozen=True, slots=True)
class Settled:
    """A beginning of the log that is known to be whole: its bytes, and their SHA-256."""

    bytes: int
    sha256: str


NOTHING = Settled(0, hashlib.sha256().hexdigest())


class EventLog:
    """An observer that appends every event to a file, each line whole and flushed before the call returns.

    A torn last line, which a killed process leaves behind, is cut off when the log is opened, so that what follows it stays
    readable. Numbers that JSON has no word for (infinite or undefined losses) are written as null.

    Parameters
    ----------
    path
        The file; it and its folder are made if they are missing.
    clock
        Returns seconds since the epoch.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> with EventLog(path, clock=lambda: 5.0) as log:
    ...     log({"event": "round_started", "round": 1})
    >>> read_events(path)
    [{'event': 'round_started', 'round': 1, 'time': 5.0}]
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that a full disk shows at the event that met it and never later, in close().
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise_full(error, path)
            raise
        self._cut_torn_line()
        self._hashed_anew()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Append an event, with the ``time`` in seconds since the epoch added.

        Raises
        ------
        RunError
            If the disk is full; the log then ends with the last whole line.
        """
        if event.get("event") in TRANSIENT:
            return
        line = json.dumps(_plain({**event, "time": self._clock()}), ensure_ascii=False, allow_nan=False)
        data = (line + "\n").encode()
        start = self.offset()
        try:
            left = data
            while left:
                left = left[self._file.write(left) :]
            self._sha.update(data)
        except OSError as error:
            self.truncate(start)
            raise_full(error, self._path)
            raise

    def offset(self) -> int:
        """Return the log's length in bytes, to come back to with :meth:`truncate`."""
        return os.fstat(self._file.fileno()).st_size

    def settle(self) -> Settled:
        """Wait until the log is on the disk, and return what it is now: a checkpoint may then say that it was this."""
        os.fsync(self._file.fileno())
        return Settled(self.offset(), self._sha.hexdigest())

    def resume(self, settled: Settled) -> None:
        """Cut the log back to what was settled.

        Raises
        ------
        UserError
            If that is not what the log begins with: costs and privacy, which are summed from it, would be wrong.
        """
        check_log(self._path, settled)
        self.truncate(settled.bytes)

    def truncate(self, offset: int) -> None:
        """Cut the log back to ``offset`` bytes, e.g. to drop the lines of a round that was never finished.

        Raises
        ------
        UserError
            If the log is shorter than that: it is not the log that the checkpoint was made with.
        """
        if offset > self.offset():
            raise UserError(
                f"{self._path}: {self.offset()} bytes, but the checkpoint was made when it had {offset}; {_MEND}"
            )
        self._file.truncate(offset)
        self._hashed_anew()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        data = self._path.read_bytes()
        if data and not data.endswith(b"\n"):
            self.truncate(data.rfind(b"\n") + 1)

    def _hashed_anew(self) -> None:
        self._sha = hashlib.sha256(self._path.read_bytes())


def check_log(path: Path, settled: Settled) -> None:
    """Check that a log begins with what was settled.

    Raises
    ------
    UserError
        If it is shorter, or other than it was.
    """
    size = path.stat().st_size if path.exists() else 0
    if size < settled.bytes:
        raise UserError(f"{path}: {size} bytes, but the checkpoint was made when it had {settled.bytes}; {_MEND}")
    if settled.bytes and sha256_of(path, settled.bytes) != settled.sha256:
        raise UserError(
            f"{path}: its first {settled.bytes} bytes are not those that the checkpoint was made with; {_MEND}"
        )


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log, in order; a torn last line (the run was killed, or is going on) is left out.

    Raises
    ------
    UserError
        If the file is missing, or a line that is not the last is no JSON object; its number is named.
    """
    try:
        data = read_bounded(path, MAX_LOG)
    except FileNotFoundError as error:
        raise UserError(f"{path}: the file is missing; give the folder of a run made by `fedtap run`") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_MEND}") from error
    return parse_lines(data, path)


def parse_lines(data: bytes, path: Path, first: int = 1) -> list[dict[str, Any]]:
    """Return the events of whole lines; what follows the last line feed is left out.

    Parameters
    ----------
    data
        A log, or what was appended to one.
    path
        Of the log, for what is said of a damaged line.
    first
        The number of the first line.

    Raises
    ------
    UserError
        If a line is no JSON object; its number is named.
    """
    lines = data.split(b"\n")
    lines.pop()  # what follows the last line feed: nothing, or a torn line
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=first):
        try:
            event = parse(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise UserError(f"{path}: line {number} is damaged; remove that line, or restore the file from a copy")
        events.append(event)
    return events


def _plain(value: Any) -> Any:
    """Return ``value`` with tuples as lists and floats that are not finite as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
