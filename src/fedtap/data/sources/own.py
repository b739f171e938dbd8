"""What the sources of a user's own files have in common: parts, and the splits and groups that their owner has made."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from fedtap.data.example import Example, Published, by_answer, by_rarest_label, distinct
from fedtap.data.groups import merged
from fedtap.data.pixels import SMALL_SHARE
from fedtap.data.sources.base import FileSource, class_names
from fedtap.data.sources.intake import Intake, remark_on_pictures, remark_on_repetitions
from fedtap.data.splits import published_splits
from fedtap.runtime.errors import UserError
from fedtap.scenario.files import OwnSplit
from fedtap.scenario.scenario import TaskSettings

KEYS = frozenset({"path", "parts", "group", "classes", "range", "window", "on_unreadable"})


class OwnSource(FileSource):
    """A source that reads files of the user's own."""

    licence = "the owner's"
    takes: ClassVar[frozenset[str]] = KEYS
    needs_path: ClassVar[bool] = True

    @abstractmethod
    def rows_of(self, task: TaskSettings, place: Path, split: OwnSplit | None, intake: Intake) -> Iterator[Example]:
        """Iterate over the examples of one file or folder, those that count twice too; ``task.pictures`` is whole.

        ``split`` is the owner's, where the place is one of three, and is on all of its examples, as ``own_train``,
        ``own_validation`` or ``test``. What cannot be read is told to ``intake``.
        """

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the classes that the task names."""
        return class_names(task)

    def check(self, task: TaskSettings) -> None:
        """Check, besides what every source checks, that what is said of pictures is said of a task that has some."""
        super().check(task)
        if task.limits is not None and "image" not in task.modality:
            key = "window" if task.window is not None else "range"
            raise UserError(
                f"task '{task.name}', source '{self.name}': '{key}' is for pictures, and there are none; remove it"
            )

    def read(self, task: TaskSettings, folder: Path, intake: Intake) -> Sequence[Example]:
        """Return all examples, none twice, and tell ``intake`` of what cannot be read and of what its owner should know."""
        root = as_one_says(folder / (task.path or ""))
        if task.pictures is not None:
            task = task.model_copy(update={"pictures": str(as_one_says(folder / task.pictures))})
        found: list[Example] = []
        for split, place in places(task, root):
            number = len(found)
            found += self.rows_of(task, place, split, intake)
            if len(found) == number and not intake.faults:
                skipped = f" but {intake.number_skipped} that cannot be read" if intake.number_skipped else ""
                raise UserError(f"{place}: no examples in it{skipped}; add rows or pictures, or mend 'path'")
        placed = merged(_one_split_each(found, intake, str(root)))
        _check_groups(placed, intake, str(root))
        kept = distinct(placed)
        remark_on_repetitions(len(found), len(kept), intake, str(root))
        remark_on_pictures(kept, intake, str(root), SMALL_SHARE)
        if task.type == "multilabel_classification":
            return by_rarest_label(kept)
        return by_answer(kept) if task.type == "text_generation" and task.modality == "image+text" else kept


def as_one_says(path: Path) -> Path:
    """Return a path without ``study/..`` in it, unless that leads elsewhere, as it may where there are links."""
    short = Path(os.path.normpath(path))
    return short if os.path.realpath(short) == os.path.realpath(path) else path


def published_as(split: OwnSplit) -> Published:
    """Return how an example is marked that its owner has put into a split."""
    return "test" if split == "test" else "own_train" if split == "train" else "own_validation"


def places(task: TaskSettings, root: Path) -> list[tuple[OwnSplit | None, Path]]:
    """Return where a task's data lie below ``root``, its path: in one place, or in one for each split that has a part."""
    if task.parts is None:
        return [(None, root)]
    return [(split, root / part) for split, part in sorted(task.parts.items())]


def _one_split_each(found: Sequence[Example], intake: Intake, place: str) -> list[Example]:
    """Return the examples, each content in one split: what its owner has put into two is test, or else validation.

    Where there is no validation split, its training part is divided between train and validation.
    """
    strongest = published_splits(found)
    moved = len({example.key for example in found if example.split not in (None, strongest.get(example.key))})
    if moved:
        intake.remark(
            f"{place}: {moved} contents are in two splits of its owner's; they count as test, or else validation, only"
        )
    divided = strongest and "own_validation" not in strongest.values()
    placed = []
    for example in found:
        split = strongest.get(example.key)
        placed.append(replace(example, split="train" if divided and split == "own_train" else split))
    return placed


def _check_groups(examples: Sequence[Example], intake: Intake, place: str) -> None:
    """Take note of groups that their owner has put into two splits: one of the two is not what they mean."""
    splits: dict[str, dict[Published, None]] = {}
    for example in examples:
        if example.group is not None and example.split is not None:
            splits.setdefault(example.group, {})[example.split] = None
    for group, found in sorted(splits.items()):
        if len(found) > 1:
            names = " and in ".join(sorted(split.removeprefix("own_") for split in found))
            intake.fault(
                UserError(
                    f"{place}: group '{group}' is in {names}; put all of it into one, or leave out the groups or the split"
                )
            )
