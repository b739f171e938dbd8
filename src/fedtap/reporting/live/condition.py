"""What a run's folder tells of the run from outside: at work, ended, broken off, killed. Not here: what the run has come to."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from fedtap.runtime.lock import FILE, LOCKS, held
from fedtap.runtime.manifest import RECORD


class Condition(Enum):
    """What is going on in a run's folder; the value is what a page says of it."""

    NOTHING = "There is no run in this folder yet."
    STARTING = "The run is starting: data are read, and the foundation model sees them once."
    RUNNING = "The run is going on."
    ENDED = "The run has ended."
    BROKEN_OFF = "The run has stopped before its end, interrupted or by an error."
    KILLED = "The run has died: its process is gone, and left its lock behind."
    UNKNOWN = "The run has not ended. Whether a process is at work there cannot be told on this file system."

    @property
    def at_work(self) -> bool:
        """Whether something may still happen by itself."""
        return self in (Condition.STARTING, Condition.RUNNING, Condition.UNKNOWN)


def condition(folder: Path, *, lives: bool = False) -> Condition:
    """Return what is going on in a folder; ``lives``: whoever makes the run is known to be there.

    The lock of a run goes with its process. One that is left behind and that nobody holds is that of a process that was killed.
    """
    found = [held(folder, name=name) for name in sorted(LOCKS)]
    begun = (folder / RECORD).exists()
    if lives or True in found:
        return Condition.RUNNING if begun else Condition.STARTING
    if begun and (folder / "results.json").exists():
        return Condition.ENDED
    if None in found:
        return Condition.UNKNOWN
    if (folder / FILE).exists():
        return Condition.KILLED
    return Condition.BROKEN_OFF if begun else Condition.NOTHING
