"""The process beside a run that serves its page: it takes nothing of the run's time, and its end is none of the run's.

The run tells it over a pipe what no log holds (progress within a stage); the end of the pipe is the end of the run, however that
ends. Then readers that are there are given the last state, and the process ends too. Not here: the pages (watched.py, server.py).
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
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fedtap.reporting.events import TRANSIENT
from fedtap.reporting.live.server import PageServer
from fedtap.reporting.live.watched import Watched
from fedtap.runtime.plain_json import NotPlainError, parse
from fedtap.runtime.threads import ONE_THREAD

TOLD = TRANSIENT | {"reading"}
EVERY = 0.25  # seconds between two lines on progress
MOST = 4_000  # bytes of a line: the pipe takes it as a whole, or not at all
GRACE = 6.0  # seconds for which readers may fetch the last state
GONE = 3.0  # seconds after which a reader that asked for nothing is taken to have left
NICE = 5


class Companion:
    """Starts the process, tells it of progress, and lets it go; to be entered before the run and left after it.

    Parameters
    ----------
    folder
        The run's, which need not be there yet.
    listening
        A socket that listens.
    secret
        The first part of every path.
    say
        Called with a line if the process is gone before the run.
    """

    def __init__(self, folder: Path, listening: socket.socket, secret: str, say: Callable[[str], None]) -> None:
        self._folder, self._listening, self._secret, self._say = folder, listening, secret, say
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0.0

    def __enter__(self) -> Companion:
        """Start the process; where it cannot be started that is said, and the run goes on without it."""
        environment = {**os.environ, **ONE_THREAD}
        source = str(Path(__file__).parents[3])  # where this very package lies, installed or not
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
        number = self._listening.fileno()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fedtap.reporting.live.companion", str(number), str(self._folder.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(number,),
                env=environment,
                start_new_session=True,  # Ctrl-C is for the run
            )
        except OSError as error:
            self._say(f"the live page cannot be served ({error.strerror}); the run goes on")
        finally:
            self._listening.close()
        if self._process is not None:
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
            self._send(self._secret.encode() + b"\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(GRACE + 4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Tell of an event on progress; what the process does not take at once it never gets."""
        if self._process is None or event.get("event") not in TOLD:
            return
        now = time.monotonic()
        if now < self._next and event.get("done") != event.get("total"):
            return
        self._next = now + EVERY
        line = json.dumps({key: event[key] for key in ("event", "done", "total", "tower", "source") if key in event})
        if len(line) < MOST:
            self._send(line.encode() + b"\n")

    def _send(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line)
        except BlockingIOError:
            return
        except OSError:
            process, self._process = self._process, None
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            process.kill()
            process.wait()
            self._say("the live page is not served any more; the run goes on, and `fedtap watch` shows it")


def main(number: int, folder: Path) -> int:
    """Serve a run's page on a socket that was handed over, until the run is gone."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICE)  # once all is loaded, which a reader waits for
    listening = socket.socket(fileno=number)
    secret = sys.stdin.buffer.readline(MOST).decode().strip()
    if not secret:
        return 0
    watched = Watched(folder)
    watched.lives(True)
    with PageServer(watched, listening, secret) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        while line := sys.stdin.buffer.readline(MOST):
            with contextlib.suppress(NotPlainError):
                stage = parse(line)
                if isinstance(stage, dict):
                    watched.tell(stage)
        watched.lives(False)
        _last_readers(server)
        server.shutdown()
    return 0


def _last_readers(server: PageServer) -> None:
    """Wait until all readers have the last state, or are gone."""
    ends = time.monotonic() + GRACE
    while (now := time.monotonic()) < ends:
        shown = server.watched.page()
        waiting = [tag for tag, asked in list(server.last.values()) if now - asked < GONE]
        if shown is None or all(tag == shown.tag for tag in waiting):
            return
        time.sleep(0.2)


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1]), Path(sys.argv[2])))  # taking apart what was loaded takes up to a second
