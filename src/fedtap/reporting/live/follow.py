"""Reads of a growing event log what was appended to it, and no line twice. Not here: what the events come to."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from fedtap.reporting.events import MAX_LOG, parse_lines
from fedtap.reporting.run.told import check_events
from fedtap.runtime.errors import UserError

AT_ONCE = 8_000_000  # bytes read at a time
MAX_LINE = 32_000_000  # bytes; no event comes near it
TAIL = 256  # bytes by which a log is known again


class Follower:
    """The events of a log so far. A last line that is not whole waits until it is.

    A log may become shorter, or other than it was: a run that is resumed cuts off what belongs to no complete round. Its last
    bytes tell, and then it is read anew.

    Parameters
    ----------
    path
        The log; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.events: list[dict[str, Any]] = []
        self._read, self._tail = 0, b""
        self._mark: tuple[int, int, int, int] | None = None

    def read(self) -> bool:
        """Read what has come since, and tell whether the events are others than before.

        Raises
        ------
        UserError
            If a line is damaged, or the file is none that can be read. It is said once; then nothing happens until the file
            changes.
        """
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return self._forget()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be read ({error.strerror}); mend that") from error
        try:
            about = os.fstat(handle)
            mark = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
            if mark == self._mark:
                return False
            self._mark = mark
            if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_LOG:
                raise UserError(
                    f"{self._path}: is no plain file of {MAX_LOG} bytes at the most; restore it from a copy"
                )
            anew = not self._goes_on(handle, about.st_size)
            if anew:
                self._forget()
                self._mark = mark
            return self._take(handle) or anew
        except UserError:
            self._forget()
            self._mark = mark
            raise
        finally:
            os.close(handle)

    def _goes_on(self, handle: int, size: int) -> bool:
        return size >= self._read and os.pread(handle, len(self._tail), self._read - len(self._tail)) == self._tail

    def _take(self, handle: int) -> bool:
        """Take up all whole lines that are new, and tell whether there were any."""
        before, left = len(self.events), b""
        while part := os.pread(handle, AT_ONCE, self._read + len(left)):
            whole, line_end, rest = (left + part).rpartition(b"\n")
            left = rest
            if len(left) > MAX_LINE:
                raise UserError(f"{self._path}: a line is longer than {MAX_LINE} bytes; restore the file from a copy")
            if not line_end:
                continue
            data = whole + line_end
            first = len(self.events) + 1
            found = parse_lines(data, self._path, first)
            check_events(found, self._path, first)
            self.events += found
            self._read += len(data)
            self._tail = (self._tail + data)[-TAIL:]
        return len(self.events) > before

    def _forget(self) -> bool:
        changed = bool(self.events)
        self.events = []
        self._read, self._tail = 0, b""
        self._mark = None
        return changed
