"""The user's own pictures: a folder with one sub-folder a class, or any folder of pictures to reconstruct."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fedtap.data.example import Example
from fedtap.data.pixels import look
from fedtap.data.sources.base import Supports, class_names, composed
from fedtap.data.sources.intake import Intake
from fedtap.data.sources.left_alone import left_alone
from fedtap.data.sources.own import OwnSource, places, published_as
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.files import OwnSplit
from fedtap.scenario.scenario import TaskSettings

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

NO_DATA = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that archivers, network drives and systems make, with files that look like the user's own."""
_GROUP = "{group}"


class Folder(OwnSource):
    """Classification by sub-folder (others than those named in ``classes`` are left alone), or reconstruction.

    ``group`` is the level of the sub-folder, below the class's, whose pictures belong together (``1``: the next), or a pattern of
    paths in which ``{group}`` stands for its name and ``*`` for anything: ``"{group}_*.png"``, ``"ward-*/{group}/*"``.
    """

    name = "folder"
    title = "a folder of pictures"
    supports: Supports = frozenset({("classification", "image"), ("reconstruction", "image")})

    def check(self, task: TaskSettings) -> None:
        """Check, besides what every source checks, that ``group`` is a level or a pattern with one place for the group's name."""
        super().check(task)
        if isinstance(task.group, str) and task.group.count(_GROUP) != 1:
            raise UserError(
                f"task '{task.name}', source '{self.name}': 'group' is '{task.group}'; give the level of a sub-folder (1), "
                f'or a pattern of file names with {_GROUP} in it once, such as "{_GROUP}_*"'
            )

    def rows_of(self, task: TaskSettings, place: Path, split: OwnSplit | None, intake: Intake) -> Iterator[Example]:
        """Iterate over the pictures, ordered by path."""
        if not place.is_dir():
            raise UserError(f"{place}: no such folder (task '{task.name}'); create it, or mend 'path'")
        published = None if split is None else published_as(split)
        for path, below, label in intake.watch(list(_listed(task, place, intake))):
            try:
                group = None if task.group is None else _group(path.relative_to(below), task.group, str(path))
                image = look(path, task.limits)
            except UserError as error:
                intake.unreadable(error)
                continue
            yield Example(image.key, image, None, label, label or 0, published, group)

    def left_alone(self, task: TaskSettings, folder: Path) -> tuple[str, ...]:
        """Return what lies in the folder, or in each of its parts, and is no picture of a class."""
        classes = frozenset(class_names(task)) if task.type == "classification" else None
        return tuple(
            line if split is None else f"{split}: {line}"
            for split, place in places(task, folder / (task.path or ""))
            for line in left_alone(place, classes=classes, suffixes=SUFFIXES, is_hidden=is_hidden)
        )


def is_hidden(path: Path) -> bool:
    """Tell whether a path, from its root on, is what systems and tools leave among a user's files, and no data.

    >>> [is_hidden(Path(path)) for path in ("a/1.png", "a/._1.png", ".ipynb_checkpoints/1.png", "__MACOSX/a/1.png")]
    [False, True, True, True]
    """
    return any(part.startswith(".") or part in NO_DATA for part in path.parts)


def _listed(task: TaskSettings, root: Path, intake: Intake) -> Iterator[tuple[Path, Path, int | None]]:
    """Iterate over the files of pictures, with the folder of their class, or of all, and the class's number."""
    if task.type == "reconstruction":
        for path in _pictures(root):
            yield path, root, None
        return
    for label, name in enumerate(class_names(task)):
        try:
            below = _subfolder(root, name)
            if below is None:
                others = [path.name for path in root.iterdir() if path.is_dir() and not is_hidden(Path(path.name))]
                near = f" ({nearest(name, others)})" if others else ""
                raise UserError(f"{root / name}: no folder for class '{name}'{near}; create it, or mend 'classes'")
            found = _pictures(below)
        except UserError as error:
            intake.fault(error)
            continue
        for path in found:
            yield path, below, label


def _subfolder(root: Path, name: str) -> Path | None:
    """Return the folder of a class, whichever way its accents are written; None if there is none.

    Raises
    ------
    UserError
        If there are two, whose names look the same.
    """
    found = [path for path in root.iterdir() if path.is_dir() and composed(path.name) == name]
    if len(found) > 1:
        raise UserError(f"{root}: two folders are called '{name}', their accents written in two ways; make one of them")
    return found[0] if found else None


def _pictures(root: Path) -> list[Path]:
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not is_hidden(path.relative_to(root)) and path.is_file()
    )
    if not paths:
        raise UserError(f"{root}: no picture in it or below; add some ({', '.join(sorted(SUFFIXES))}), or mend 'path'")
    return paths


def _group(path: Path, group: int | str, place: str) -> str:
    """Return the group of a picture by its path below the folder of its class.

    Raises
    ------
    UserError
        If the path does not lie so deep, or is not of the pattern.
    """
    if isinstance(group, int):
        if len(path.parts) <= group:
            raise UserError(
                f"{place}: lies in no sub-folder of level {group}; move it into that of its group, or mend 'group'"
            )
        return composed(path.parts[group - 1])
    text = path.as_posix() if "/" in group else path.name
    before, after = (_expression(part) for part in group.split(_GROUP))
    found = re.fullmatch(f"{before}([^/]+?){after}", composed(text), re.DOTALL)
    if found is None:
        raise UserError(f"{place}: is not of the pattern '{group}' that names its group; rename it, or mend 'group'")
    return found[1]


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern: ``*`` is anything within a name, all else is itself."""
    return "[^/]*".join(re.escape(part) for part in re.sub(r"\*+", "*", composed(pattern)).split("*"))
