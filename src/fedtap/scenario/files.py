"""What a task says about its files: three places in the place of one, and the window through which pictures are seen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from fedtap.runtime.errors import nearest
from fedtap.scenario.settings import Float, Settings

OwnSplit: TypeAlias = Literal["train", "validation", "test"]
WORDS: Mapping[str, OwnSplit] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "validate": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
"""How people call the three splits."""


class WindowSettings(Settings):
    """A window as DICOM has it (PS3.3, C.11.2.1.2): ``width`` values around ``center`` are shown from black to white."""

    center: Float
    width: Annotated[Float, Field(ge=2)]

    @property
    def limits(self) -> tuple[float, float]:
        """The values that are shown as black and as white."""
        half = (self.width - 1) / 2
        return self.center - 0.5 - half, self.center - 0.5 + half


def split_word(word: str) -> OwnSplit | None:
    """Return the split that a word means, or None.

    >>> split_word(" Val "), split_word("tset")
    ('validation', None)
    """
    return WORDS.get(word.strip().casefold())


def in_parts(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task whose ``path`` names a place for each split with the folder that holds them all, and the parts below it.

    >>> in_parts({"path": {"train": "data/a.csv", "val": "data/b.csv"}})
    {'path': 'data', 'parts': {'train': 'a.csv', 'validation': 'b.csv'}}

    Raises
    ------
    ValueError
        If a key is no split, is there twice, or a place is none.
    """
    if task.get("parts") is not None:
        raise ValueError("'path' names the places of the splits already; remove 'parts'")
    places: dict[OwnSplit, str] = {}
    for key, place in task["path"].items():
        split = split_word(str(key))
        if split is None:
            raise ValueError(f"'path' has an unknown key '{key}'; {nearest(str(key), ('train', 'validation', 'test'))}")
        if split in places:
            raise ValueError(f"'path' names the {split} part twice; name it once")
        if not isinstance(place, str) or not place.strip():
            raise ValueError(f"'path' has no place under '{key}'; give a file or folder, as text")
        places[split] = os.path.normpath(place)
    if not places:
        raise ValueError("'path' names no place; give one, or one for each of train, validation and test")
    try:
        above = os.path.commonpath(list(places.values())) if len(places) > 1 else os.path.dirname(*places.values())
    except ValueError:
        raise ValueError(
            "the places under 'path' must all be absolute, or all relative to the scenario's folder"
        ) from None
    parts = {split: os.path.relpath(place, above or ".") for split, place in places.items()}
    return {**task, "path": above or ".", "parts": parts}


def plain_parts(parts: Mapping[OwnSplit, str]) -> Mapping[OwnSplit, str]:
    """Return the parts of a path; raises :class:`ValueError` unless they are below it, a training part among them, and apart."""
    for split, part in parts.items():
        pure = PurePath(part)
        if not part.strip() or pure.is_absolute() or ".." in pure.parts or part.startswith("~"):
            raise ValueError(f"the {split} part '{part}' must lie below 'path'")
    for missing in ("train", "test"):
        if missing not in parts:
            raise ValueError(f"a {missing} part is missing; add it (a validation part may be left out)")
    for one, first in parts.items():
        for other, second in parts.items():
            if one != other and PurePath(second).is_relative_to(first):
                raise ValueError(
                    f"the {other} part '{second}' lies in the {one} part '{first}'; give each a place of its own"
                )
    return parts
