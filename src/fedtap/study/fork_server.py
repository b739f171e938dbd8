"""A process that has loaded what every run needs, and forks one for each run: ``python -m fedtap.study.fork_server``.

What a run imports takes seconds, and runs of a study are many; forked, each is nonetheless a process of its own, with memory and
an end of its own. It is asked over a socket, its standard input: a byte and three descriptors, which become the run's standard
streams (``worker.py`` says what goes over them). It answers a line of JSON for each that has begun (``began``), and for each that
has ended (``ended``, ``code``). When nobody is left at the other end it goes, and lets its runs come to their end.

Only a process with one thread may fork safely. Where there are more, or the system knows no ``fork`` that is safe, it says so
(``ready``: false), and runs are started one by one: ``processes.py``, which is the other end.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import NoReturn

LOADED = (
    "torch",
    "torchmetrics",
    "fedtap.experiment.run",
    "fedtap.reporting.run.report",
    "fedtap.scenario.scenario",
    "fedtap.study.worker",
)
"""What runs import sooner or later, and takes long. A run imports by itself whatever is missing here."""


def main() -> None:
    """Serve until the other end is closed."""
    asked = socket.socket(fileno=os.dup(0))
    for name in LOADED:
        import_module(name)
    ready = threads() == 1
    _tell(asked, {"ready": ready})
    if ready:
        _serve(asked)


def threads() -> int:
    """Return how many threads this process has, those of libraries included; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def _serve(asked: socket.socket) -> None:
    heard, told = socket.socketpair()
    for end in (heard, told):
        end.setblocking(False)
    signal.set_wakeup_fd(told.fileno())  # a byte for every child that ends
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as waits:
        waits.register(asked, selectors.EVENT_READ)
        waits.register(heard, selectors.EVENT_READ)
        while True:
            for key, _ in waits.select():
                if key.fileobj is heard:
                    heard.recv(4096)
                    _reap(asked)
                    continue
                byte, streams, _, _ = socket.recv_fds(asked, 1, 3)
                if not byte:
                    return
                pid = os.fork()
                if pid == 0:
                    _become(streams)
                for stream in streams:
                    os.close(stream)
                _tell(asked, {"began": pid})


def _reap(asked: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(asked, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _become(streams: list[int]) -> NoReturn:
    """Be the process of a run, with these standard streams, and leave with its exit code."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # Ctrl-C goes to the batch, which then stops its runs
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, max(streams) + 64)  # the server's own ends, and what the streams were called before
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it lasts as long as the process

        from fedtap.study.worker import main as work

        code = work()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _tell(asked: socket.socket, what: dict[str, int | bool]) -> None:
    try:
        asked.sendall(json.dumps(what).encode() + b"\n")
    except OSError:
        os._exit(0)  # nobody is there any more


if __name__ == "__main__":
    main()
