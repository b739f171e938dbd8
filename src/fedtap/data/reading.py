"""Reading all sources of a scenario, so that what is wrong with any of them is told together. Not: who gets what (partition)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from fedtap.data.example import Example, Published
from fedtap.data.groups import Shares, group_splits
from fedtap.data.pixels import key_of
from fedtap.data.sources.intake import DataError, Intake
from fedtap.data.splits import published_splits
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

Tell: TypeAlias = Callable[[dict[str, Any]], None]
"""Called with events: ``reading`` (progress), ``skipped`` and ``note``."""
Found: TypeAlias = dict[tuple[Any, ...], Sequence[Example]]


def remembering(remarks: list[dict[str, Any]], progress: Tell = lambda event: None) -> Tell:
    """Return what keeps the events that are to be known of the data, and hands on those of progress alone."""

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "reading":
            progress(event)
        else:
            remarks.append(event)

    return tell


class Faults:
    """What is wrong with the data of a scenario, taken down one by one and raised together."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._number = 0

    def add(self, error: UserError, who: str = "") -> None:
        """Take down what was raised; ``who`` is the client's task, told where the line is not the first."""
        lines = error.faults if isinstance(error, DataError) else (str(error),)
        new = [line for line in lines if line not in self._lines]  # two tasks may draw from one file
        self._lines.update((line, line if not who or who in line else f"{line} [{who}]") for line in new)
        if new:
            self._number += error.number if isinstance(error, DataError) else 1

    def refuse(self) -> None:
        """Raise a :class:`DataError` with all that was taken down, if anything was."""
        if self._lines:
            raise DataError(list(self._lines.values()), self._number)


def read_source(
    read: Callable[[Intake], Sequence[Example]],
    *,
    who: Sequence[tuple[str, str]],
    task: TaskSettings,
    skip: bool,
    faults: Faults,
    tell: Tell,
) -> Sequence[Example] | None:
    """Return the examples of one source; None if something is wrong with it, which ``faults`` are told.

    Parameters
    ----------
    read
        Reads it.
    who, task
        The clients that draw from it, each with its task's name, and the task by which it is read.
    skip
        Whether examples that cannot be read are left out, where the task does not say so itself.
    faults, tell
        Take down what is wrong, and what is to be known.
    """

    def progress(done: int, total: int) -> None:
        tell({"event": "reading", "source": task.source, "done": done, "total": total})

    intake = Intake(skip=(task.on_unreadable == "skip") if task.on_unreadable else skip, progress=progress)
    found: Sequence[Example] | None = None
    try:
        found = read(intake)
    except UserError as error:
        intake.fault(error)
    about = [list(each) for each in who]
    for line in intake.remarks:
        tell({"event": "note", "text": line, "about": about})
    if intake.number_skipped:
        tell(
            {
                "event": "skipped",
                "about": about,
                "source": task.source,
                "examples": intake.number_skipped,
                "why": list(intake.skipped),
            }
        )
    if intake.faults:
        faults.add(DataError(intake.faults, intake.number_of_faults), "client '{}', task '{}'".format(*who[0]))
        return None
    return found


def known_by_pixels(found: Found) -> Found:
    """Return the examples, those of a user's own pictures under the key of the same picture in a package's files, if it is there.

    Pictures of packages are known by their files, no two of which hold the same picture. They are decoded only where a scenario
    has pictures of both kinds.
    """
    own = {each.image.kept for pool in found.values() for each in pool if each.image is not None and each.image.kept}
    if not own:
        return found
    known: dict[str, str] = {}
    for pool in found.values():
        for example in pool:
            if example.image is not None and example.image.kept is None and example.key == example.image.digest:
                known.setdefault(key_of(example.image), example.key)
    renamed = own & known.keys()
    if not renamed:
        return found
    return {
        kind: [replace(each, key=known[each.key]) if each.key in renamed else each for each in pool]
        for kind, pool in found.items()
    }


def fixed_splits(found: Mapping[tuple[Any, ...], Sequence[Example]], shares: Shares) -> dict[str, Published]:
    """Return, for each key whose split is not a matter of its content alone, its split.

    Sources publish splits, owners make them, and groups stay together.
    """
    published = published_splits(example for pool in found.values() for example in pool)
    pools = [found[kind] for kind in sorted(found, key=repr)]
    return published | group_splits(pools, shares, published)
