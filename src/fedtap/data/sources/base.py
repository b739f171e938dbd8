"""What a data source is: a name, what it can serve, its classes, and its examples. Splits and shares are not its business."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fedtap.data.example import Example
from fedtap.data.sources.intake import Intake
from fedtap.pairs import Modality, TaskName
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import TaskSettings

_KEYS = (
    *("path", "parts", "pictures", "columns", "classes", "delimiter", "encoding", "sheet", "separator", "references"),
    *("group", "range", "window", "on_unreadable"),
)
"""The keys of a task that mean something to some sources only."""
Supports = frozenset[tuple[TaskName, Modality]]


class Source(ABC):
    """A data source. A new one is a file with a subclass, and one line in the registry (``sources/__init__.py``).

    Attributes
    ----------
    name
        As written in scenarios.
    title
        What it is, for people.
    licence
        Of the data, as printed in model cards.
    hub
        Its name on the Hugging Face hub, or None.
    supports
        The (task type, modality) combinations that it can serve.
    takes
        Which of the task keys that not every source has (``path``, ``columns``, ``classes`` ...) mean something to it.
    needs_path
        Whether it has no data without a ``path``.
    """

    name: str
    title: str
    licence: str
    hub: str | None = None
    supports: Supports
    takes: ClassVar[frozenset[str]] = frozenset()
    needs_path: ClassVar[bool] = False

    @abstractmethod
    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the class names of a task that classifies, empty for other types. Needs no data."""

    @abstractmethod
    def examples(self, task: TaskSettings, folder: Path) -> Sequence[Example]:
        """Return all examples of the source for a task, none twice, always in the same order.

        Parameters
        ----------
        task
            A task that passed :meth:`check`.
        folder
            Where relative paths start: the scenario's folder.

        Raises
        ------
        UserError
            If the data are missing or wrong; one line with file, line, fault and mend.
        """

    def read(self, task: TaskSettings, folder: Path, intake: Intake) -> Sequence[Example]:
        """Return what :meth:`examples` returns; sources of a user's own data tell ``intake`` what they find out meanwhile."""
        return self.examples(task, folder)

    def left_alone(self, task: TaskSettings, folder: Path) -> tuple[str, ...]:
        """Return, in a line each, what lies among a task's data and is not taken; nothing, where all is.

        Parameters are those of :meth:`examples`, which has read the data before.
        """
        return ()

    def check(self, task: TaskSettings) -> None:
        """Check, without data, that this source can serve a task.

        Raises
        ------
        UserError
            If its type or modality is not supported, or a key is missing, out of place or senseless.
        """
        place = f"task '{task.name}', source '{self.name}'"
        if (task.type, task.modality) not in self.supports:
            known = ", ".join(f"{kind} on {modality}" for kind, modality in sorted(self.supports))
            raise UserError(f"{place}: no {task.type} on {task.modality} here; it serves: {known}")
        for key in _KEYS:
            if getattr(task, key) not in (None, {}) and key not in self.takes:
                raise UserError(f"{place}: '{key}' means nothing to this source; remove it")
        if not task.path and (self.needs_path or task.path is not None):
            raise UserError(f"{place}: 'path' is missing; add it, relative to the scenario's folder")
        if "classes" in self.takes:
            self._check_classes(task, place)
        self._check_weights(task, place)

    def _check_weights(self, task: TaskSettings, place: str) -> None:
        if isinstance(task.class_weights, Mapping):
            known = self.classes(task)
            for name in map(composed, task.class_weights):
                if name not in known:
                    raise UserError(f"{place}: class_weights: no class '{name}'; {nearest(name, known)}")

    def _check_classes(self, task: TaskSettings, place: str) -> None:
        if not task.classifies:
            if task.classes is not None:
                raise UserError(f"{place}: 'classes' is for classification, not for {task.type}; remove it")
            return
        if task.classes is None:
            raise UserError(f"{place}: 'classes' is missing; add a list of names, or a number n for labels 0 to n-1")
        names = class_names(task)
        if len(names) < 2:
            raise UserError(f"{place}: 'classes' must be at least two, not {len(names)}")
        twice = next((name for name, number in Counter(names).items() if number > 1), None)
        if twice is not None:
            raise UserError(f"{place}: class '{twice}' is listed twice; list each once")


class FileSource(Source):
    """A source of files that come from outside fedtap, of which some may not be readable: its examples are what is read whole."""

    def examples(self, task: TaskSettings, folder: Path) -> Sequence[Example]:
        """Return all examples, none twice; pictures are looked at, the first time that this machine sees them."""
        intake = Intake(skip=task.on_unreadable == "skip")
        found = self.read(task, folder, intake)
        intake.refuse()
        return found

    @abstractmethod
    def read(self, task: TaskSettings, folder: Path, intake: Intake) -> Sequence[Example]:
        """Return all examples, none twice, and tell ``intake`` of what cannot be read and of what its owner should know."""


def class_names(task: TaskSettings) -> tuple[str, ...]:
    """Return the classes that the task's own settings name, composed; a number n stands for the names 0 to n-1."""
    if isinstance(task.classes, int):
        return tuple(str(index) for index in range(task.classes))
    return tuple(composed(name) for name in task.classes or ())


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC): a letter and its accent are one sign, however a file system splits them.

    >>> composed("ro\u0308d") == "röd"
    True
    """
    return unicodedata.normalize("NFC", name)
