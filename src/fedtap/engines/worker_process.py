"""Workers of a pool as processes of this machine: begin, ask, end. What one does: ``experiment/worker.py``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

from fedtap.engines.pipe import Frame, Head, WorkerGoneError, read_frame, write_frame
from fedtap.runtime.text import one_line
from fedtap.runtime.threads import ONE_THREAD, share_cores
from fedtap.runtime.watchdog import Mark, Watchdog

SOURCE = Path(__file__).parents[2]  # where this very package lies, installed or not
PATIENCE = 10.0  # seconds in which a process that no longer answers has ended
MAX_TOLD = 2_000  # characters, the last ones, of what a worker wrote to its standard error


class Processes:
    """Starts workers; a watchdog ends them when this process is gone.

    Parameters
    ----------
    module
        What a worker runs, as with ``python -m``.
    folder
        Whose processes they are; see :mod:`fedtap.runtime.watchdog`.
    """

    def __init__(self, module: str, folder: Path) -> None:
        self._module = module
        self._mark = Mark.of(folder).environment()
        self._watchdog = Watchdog(folder)

    def start(self) -> WorkerProcess:
        """Start a worker."""
        return WorkerProcess(self._module, self._mark)

    def close(self) -> None:
        """Call the watchdog off."""
        self._watchdog.dismiss()


class WorkerProcess:
    """A process of its own with one thread, asked over its standard input, answering over its standard output.

    Parameters
    ----------
    module
        What it runs, as with ``python -m``.
    mark
        What else stands in its environment.
    """

    def __init__(self, module: str, mark: Mapping[str, str]) -> None:
        environment = {**os.environ, **ONE_THREAD, **mark}
        share_cores(environment)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SOURCE), environment.get("PYTHONPATH"))))
        self._told: BinaryIO = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            env=environment,
            start_new_session=True,  # Ctrl-C goes to whoever started it, who then ends it
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def send(self, head: Head, data: bytes = b"") -> None:
        """Send a frame; raises :class:`WorkerGoneError` if the process has ended."""
        try:
            write_frame(cast(BinaryIO, self._process.stdin), head, data)
        except OSError as error:
            raise WorkerGoneError(self._ending()) from error

    def receive(self) -> Frame:
        """Wait for a frame; raises :class:`WorkerGoneError` if the process ends before there is one."""
        frame = read_frame(cast(BinaryIO, self._process.stdout))
        if frame is None:
            raise WorkerGoneError(self._ending())
        return frame

    def told(self) -> str:
        """Return the end of what the process, and libraries in it, wrote to standard error."""
        size = self._told.seek(0, os.SEEK_END)
        self._told.seek(max(0, size - MAX_TOLD))
        return self._told.read().decode(errors="replace")

    def end(self) -> str:
        """End the process, whatever it is at, and return what it wrote to standard error; all its files are whole or absent."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was on its way is lost with it
                cast(BinaryIO, stream).close()
        with self._told:
            return self.told()

    def _ending(self) -> str:
        """Wait for the end of a process that no longer reads or writes, and say how it ended."""
        with contextlib.suppress(OSError):
            cast(BinaryIO, self._process.stdin).close()
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"code {code}" if code >= 0 else f"signal {-code} ({signal.Signals(-code).name})"
        last = next((line for line in reversed(self.told().splitlines()) if line.strip()), "")
        return one_line(f"its worker process ended with {how}" + (f": {last}" if last else ""))
