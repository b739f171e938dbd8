"""The processes of a batch's runs: forked by a server that has loaded what they need, or started one by one.

A run is told what to do over its standard input, tells how far it is over its standard output, and writes all else to its log;
what it does is said in ``worker.py``. Not here: which runs there are, and when each begins (``batch.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Protocol

from fedtap.runtime.threads import ONE_THREAD

SYSTEMS = ("linux",)
"""Where a process may fork after it has loaded numerical libraries; on macOS they do not allow it."""
_UNKNOWN = -int(signal.SIGKILL)
"""The exit code of a run whose server was killed: nothing else ends that."""


class Run(Protocol):
    """The process of a run."""

    stdin: IO[str]
    """Where it is told; it stops, where it can go on later, when this is closed."""
    stdout: IO[str]
    """Where it tells."""

    def wait(self) -> int:
        """Wait for its end and return its exit code, negative for a signal."""

    def kill(self) -> None:
        """End it, whatever it is at."""


class Starter:
    """Starts the processes of runs, each with one thread and in a session of its own. Close it when all have ended.

    Parameters
    ----------
    runs
        How many are to be started; for one alone a server would be of no use.
    """

    def __init__(self, runs: int) -> None:
        self._server = _Server() if runs > 1 and sys.platform in SYSTEMS else None

    def start(self, log: Path) -> Run:
        """Start a process whose standard error goes to a file's end."""
        with log.open("ab") as errors:
            forked = None if self._server is None else self._server.fork(errors.fileno())
            return _Started(errors) if forked is None else forked

    def close(self) -> None:
        """Let the server go; runs that are still at work go on."""
        if self._server is not None:
            self._server.close()


class _Started:
    """A process that was started by itself."""

    def __init__(self, errors: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fedtap.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **ONE_THREAD},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C goes to the batch, which then stops its runs
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.stdin: IO[str] = self._process.stdin
        self.stdout: IO[str] = self._process.stdout

    def wait(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        self._process.kill()


class _Forked:
    """A process that the server has forked."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.pid, self.code = 0, _UNKNOWN
        self.begun, self.ended = threading.Event(), threading.Event()

    def wait(self) -> int:
        self.ended.wait()
        return self.code

    def kill(self) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class _Server:
    """The server's other end. A thread of its own hears which runs have begun, and which have ended."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fedtap.study.fork_server"],
                stdin=other.fileno(),
                stderr=subprocess.DEVNULL,  # what keeps it from loading a library keeps the runs too, and they say so
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )
        self._said = self._socket.makefile("r", encoding="utf-8")
        self._runs: dict[int, _Forked] = {}
        self._asked: deque[_Forked] = deque()
        self._lost = self._hear().get("ready") is not True
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def fork(self, errors: int) -> _Forked | None:
        """Have a process forked whose standard error is this descriptor; None where the server cannot."""
        if self._lost:
            return None
        (told, tell), (hear, said) = os.pipe(), os.pipe()
        run = _Forked(os.fdopen(tell, "w", encoding="utf-8"), os.fdopen(hear, encoding="utf-8"))
        self._asked.append(run)
        with contextlib.suppress(OSError):  # it is gone, which the listener hears
            socket.send_fds(self._socket, [b"r"], [told, said, errors])
        for end in (told, said):
            os.close(end)
        run.begun.wait()
        if run.pid:
            return run
        for stream in (run.stdin, run.stdout):
            stream.close()
        return None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._listener.join()
        self._said.close()
        self._socket.close()

    def _hear(self) -> dict[str, int | bool]:
        """Return the next thing that the server says; nothing when it is gone."""
        try:
            line = self._said.readline()
        except OSError:
            return {}
        said: dict[str, int | bool] = json.loads(line) if line.endswith("\n") else {}
        return said

    def _listen(self) -> None:
        while not self._lost and (said := self._hear()):
            if "began" in said:
                run = self._asked.popleft()
                run.pid = int(said["began"])
                self._runs[run.pid] = run
                run.begun.set()
            else:
                run = self._runs.pop(int(said["ended"]))
                run.code = int(said["code"])
                run.ended.set()
        self._lost = True
        for run in (*self._asked, *self._runs.values()):  # how they end nobody will know
            run.begun.set()
            run.ended.set()
