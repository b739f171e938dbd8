"""Data sets of the Hugging Face hub: what all of them have in common. Each of them is a short file beside this one.

With the task's ``path`` they are read from a local folder that ``DatasetDict.save_to_disk`` wrote; without it, from the hub.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fedtap.data.example import Example, Published, distinct
from fedtap.data.sources.base import FileSource
from fedtap.data.sources.hub.load import from_folder, from_hub
from fedtap.data.sources.hub.rows import Column, Row, rows
from fedtap.data.sources.intake import Intake, remark_on_repetitions
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import TaskSettings


class HubSource(FileSource):
    """A data set of the hub.

    Attributes
    ----------
    hub
        Its name there, ``owner/name``.
    config
        Which of its configurations, where it has several.
    splits
        The splits that are used, by the hub's names, and as what their rows count here: ``train``, ``test``, or None where
        the data set is published in one piece and is divided by content.
    """

    hub: str
    config: str | None = None
    splits: Mapping[str, Published | None]
    takes: ClassVar[frozenset[str]] = frozenset({"path", "on_unreadable"})

    @abstractmethod
    def columns(self, task: TaskSettings) -> Mapping[str, Column]:
        """Return the columns that a task needs, by the hub's names."""

    @abstractmethod
    def example(self, row: Row, task: TaskSettings, split: Published | None) -> Example:
        """Return the example that a row makes; raises UserError if it makes none."""

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return no classes."""
        return ()

    def read(self, task: TaskSettings, folder: Path, intake: Intake) -> Sequence[Example]:
        """Return one example a row, and tell ``intake`` of the rows that cannot be read."""
        place = f"task '{task.name}', source '{self.name}'"
        if task.path is None:
            origin = self.hub if self.config is None else f"{self.hub} ({self.config})"
            data = from_hub(self.hub, self.config, place=place)
        else:
            origin = str(folder / task.path)
            data = from_folder(folder / task.path, place=place)
        found: list[Example] = []
        # Test rows first: of what is published in both, they are kept.
        for split in sorted(self.splits, key=lambda split: self.splits[split] != "test"):
            if split not in data:
                near = nearest(split, data)
                raise UserError(f"{origin}: no split '{split}' ({near}; {place}); give the whole data set")
            published = self.splits[split]
            here = f"{origin}, split '{split}'"
            for row in rows(data[split], self.columns(task), place=here, intake=intake):
                try:
                    found.append(self.example(row, task, published))
                except UserError as error:
                    intake.unreadable(error)
        if not found and not intake.faults:
            raise UserError(f"{origin}: none of its rows can be read ({place}); mend them")
        kept = distinct(found)
        remark_on_repetitions(len(found), len(kept), intake, origin)
        return kept
