"""Who shows progress where: in a notebook by default, elsewhere when asked to. For Python, not for the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from fedtap.reporting.progress.batch import BatchProgress
from fedtap.reporting.progress.notebook import NotebookBatch, NotebookRun, in_notebook, place
from fedtap.reporting.progress.run import Watcher, watcher

Observer = Callable[[dict[str, Any]], None]


@contextmanager
def run_progress(progress: bool | None, rounds: int) -> Iterator[list[Observer]]:
    """Show the progress of a run while this lasts; gives the observers to be called with its events, none where it is silent.

    ``progress`` is True, False, or None: in a notebook alone.
    """
    if not _wanted(progress):
        yield []
        return
    shown: Watcher = NotebookRun(rounds, place()) if in_notebook() else watcher(rounds, Console(stderr=True))
    with shown as watch:
        yield [watch]


@contextmanager
def batch_progress(progress: bool | None) -> Iterator[list[Observer]]:
    """Show the progress of many runs, as :func:`run_progress` does that of one."""
    if not _wanted(progress):
        yield []
        return
    with NotebookBatch(place()) if in_notebook() else BatchProgress(Console(stderr=True)) as watch:
        yield [watch]


def _wanted(progress: bool | None) -> bool:
    return in_notebook() if progress is None else progress
