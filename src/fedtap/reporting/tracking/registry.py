"""The trackers by name, and what has to be installed for each. A new one is one file, and one line here."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence

from fedtap.reporting.tracking.base import StartTracker
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.installing import install

TRACKERS: Mapping[str, str] = {name: f"fedtap.reporting.tracking.{name}" for name in ("tensorboard", "mlflow", "wandb")}
"""Each needs the module, and the extra, of its own name."""


def check_trackers(names: Sequence[str], place: str) -> tuple[str, ...]:
    """Return the names of trackers, each once; ``place`` says where they were asked for.

    Raises
    ------
    UserError
        If one is unknown, or its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"{place}: unknown tracker '{name}'; {nearest(name, TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{place}: package {name} is not installed; run: {install(name)}")
    return tuple(dict.fromkeys(names))


def starter(name: str) -> StartTracker:
    """Return what begins a run in a tracker; its package is loaded when it is called."""
    found: StartTracker = importlib.import_module(TRACKERS[name]).start
    return found
