"""The user's own pictures: a folder with one sub-folder a class, or any folder of pictures to reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fedtap.data.example import Example, ImageRef, distinct
from fedtap.data.sources.base import Source, Supports, class_names, composed
from fedtap.data.sources.left_alone import left_alone
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import TaskSettings

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

NO_DATA = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that archivers, network drives and systems make, with files that look like the user's own."""


class Folder(Source):
    """Classification by sub-folder (others than those named in ``classes`` are left alone), or reconstruction."""

    name = "folder"
    title = "a folder of pictures"
    licence = "the owner's"
    supports: Supports = frozenset({("classification", "image"), ("reconstruction", "image")})
    takes: ClassVar[frozenset[str]] = frozenset({"path", "classes"})
    needs_path: ClassVar[bool] = True

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the classes that the task names."""
        return class_names(task)

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a picture, ordered by path; files are hashed, not decoded."""
        root = folder / (task.path or "")
        if not root.is_dir():
            raise UserError(f"{root}: no such folder (task '{task.name}'); create it, or mend 'path'")
        if task.type == "reconstruction":
            return distinct([Example(image.digest, image, None, None) for image in _images(root)])
        found: list[Example] = []
        for label, name in enumerate(class_names(task)):
            below = _subfolder(root, name)
            if below is None:
                others = [path.name for path in root.iterdir() if path.is_dir() and not is_hidden(Path(path.name))]
                near = f" ({nearest(name, others)})" if others else ""
                raise UserError(f"{root / name}: no folder for class '{name}'{near}; create it, or mend 'classes'")
            found += [Example(image.digest, image, None, label, label) for image in _images(below)]
        return distinct(found)

    def left_alone(self, task: TaskSettings, folder: Path) -> tuple[str, ...]:
        """Return what lies in the folder and is no picture of a class."""
        classes = frozenset(class_names(task)) if task.type == "classification" else None
        return left_alone(folder / (task.path or ""), classes=classes, suffixes=SUFFIXES, is_hidden=is_hidden)


def is_hidden(path: Path) -> bool:
    """Tell whether a path, from its root on, is what systems and tools leave among a user's files, and no data.

    >>> [is_hidden(Path(path)) for path in ("a/1.png", "a/._1.png", ".ipynb_checkpoints/1.png", "__MACOSX/a/1.png")]
    [False, True, True, True]
    """
    return any(part.startswith(".") or part in NO_DATA for part in path.parts)


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


def _images(root: Path) -> list[ImageRef]:
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not is_hidden(path.relative_to(root)) and path.is_file()
    )
    if not paths:
        raise UserError(f"{root}: no picture in it or below; add some ({', '.join(sorted(SUFFIXES))}), or mend 'path'")
    return [ImageRef.of_file(path) for path in paths]
