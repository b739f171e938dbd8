"""What a tracker is to a run. Not here: what it is told (values.py), when, and what becomes of one that fails (observer.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Ending = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class About:
    """What a tracker needs to know of a run.

    Parameters
    ----------
    folder
        The run's; what a tracker writes on this machine lies in it, or beside it where runs share it.
    name
        Of the run.
    project
        What runs that belong together have in common: MLflow's experiment, the project of Weights & Biases.
    parameters
        The resolved scenario, flat, without places of this machine.
    offline
        Whether nothing may leave this machine.
    """

    folder: Path
    name: str
    project: str
    parameters: Mapping[str, str]
    offline: bool = False


class Tracker(Protocol):
    """One run in one tracker. Anything may raise; the run goes on without this tracker then."""

    @property
    def id(self) -> str:
        """By what the tracker knows this run: kept in the run's folder, so that a resumed run goes on in it."""

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Note values of a round; ``at`` is when, in seconds since the epoch."""

    def end(self, how: Ending) -> None:
        """Have everything written, and close the tracked run; it may be taken up again."""


class StartTracker(Protocol):
    """Begins a tracked run, or takes up the one of an id."""

    def __call__(self, about: About, id: str | None) -> Tracker:
        """Return the tracker."""
