"""Processes that must not outlive the one that started them, nor their children, whatever ends it: SIGKILL, a crash, a hangup.

Everything started for a folder carries a mark in its environment, which its children inherit, in whatever session or group they
are. A watchdog, a small process of its own, waits at a pipe whose other end the starter holds: the system closes that end when
the starter is gone, and then the watchdog ends all that carries the mark. Needs no kernel's help, and so works on macOS too.

Not here: what is started, and why (``engines/flower/processes.py``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from fedtap.runtime.errors import RunError, UserError

VARIABLE = "FEDTAP_STARTED_FOR"
GRACE = 5.0  # seconds between asking and killing
GIVING_UP = 30.0  # seconds after which what cannot be killed is told
LOOK = 0.1  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Mark:
    """What the environment of a started process says: for which folder, and by whom (a process id, and when it began)."""

    folder: str
    owner: int
    began: float

    @classmethod
    def of(cls, folder: Path) -> Mark:
        """Return the mark of what this process starts for a folder."""
        return cls(str(folder.resolve()), os.getpid(), psutil.Process().create_time())

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Mark | None:
        """Return the mark in an environment, or None."""
        owner, _, rest = environment.get(VARIABLE, "").partition(":")
        began, _, folder = rest.partition(":")
        try:
            return cls(folder, int(owner), float(began))
        except ValueError:
            return None

    def environment(self) -> dict[str, str]:
        """Return what to add to the environment of a process that is to carry the mark."""
        return {VARIABLE: f"{self.owner}:{self.began!r}:{self.folder}"}

    def owner_lives(self) -> bool:
        """Tell whether the process that started it is still there, and not another with its number."""
        try:
            owner = psutil.Process(self.owner)
            return bool(abs(owner.create_time() - self.began) < 1 and owner.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def living(folder: Path) -> dict[psutil.Process, Mark]:
    """Return the processes that were started for a folder, children included, and are still there."""
    place, found = str(folder.resolve()), dict[psutil.Process, Mark]()
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        # A process of somebody else's cannot be read, and is none of ours; a dead one has no environment.
        with contextlib.suppress(psutil.Error, OSError):
            mark = Mark.read(process.environ())
            if mark is not None and mark.folder == place:
                found[process] = mark
    return found


def end_all(folder: Path, grace: float = GRACE) -> list[int]:
    """End all that was started for a folder, first by asking; return the ids of what could not be ended."""
    until = time.monotonic() + grace
    _signal(folder, signal.SIGTERM)
    while living(folder) and time.monotonic() < until:
        time.sleep(LOOK)
    # Twice with nothing found: a process that was about to start another carried no mark in between.
    quiet, until = 0, time.monotonic() + GIVING_UP
    while quiet < 2 and time.monotonic() < until:
        quiet = 0 if _signal(folder, signal.SIGKILL) else quiet + 1
        time.sleep(LOOK)
    return sorted(process.pid for process in living(folder))


def clear(folder: Path) -> None:
    """See to it that nothing lives that an earlier attempt started for a folder, before its files are touched.

    Raises
    ------
    UserError
        If who started it is still at work.
    RunError
        If it cannot be ended.
    """
    for process, mark in living(folder).items():
        if mark.owner_lives():
            raise UserError(
                f"{folder}: process {process.pid} is at work there for process {mark.owner}, which still runs; wait for "
                "that one, or end it, then give the same command again"
            )
    left = end_all(folder)
    if left:
        raise RunError(f"{folder}: processes of an earlier attempt cannot be ended ({left}); end them, then --resume")


class Watchdog:
    """Ends all that carries a folder's mark as soon as this process is gone, or the watchdog is called off.

    Parameters
    ----------
    folder
        What :class:`Mark` names.
    """

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        source = str(Path(__file__).parents[2])  # where this very package lies, installed or not
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fedtap.runtime.watchdog", str(folder.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # what a terminal sends to its processes is not meant for it
        )

    def close(self) -> None:
        """Have it end what still carries the mark, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def dismiss(self) -> None:
        """Call it off at once: all that carried the mark has been ended already."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.wait()


def main(folder: Path) -> int:
    """Wait until the starter is gone, then end what it started; return the number of what could not be ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its work begins when those who get these are gone
    while os.read(0, 1024):
        pass
    return len(end_all(folder))


def _signal(folder: Path, number: signal.Signals) -> bool:
    """Send a signal to all that was started for a folder, and tell whether there was any."""
    found = living(folder)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
