"""What a model is given: pictures and texts in the forms that people have them, checked and decoded. Not here: tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from fedtap.data.images import Limits, kept_content, kept_picture, read_image, shown
from fedtap.models.saved_model import ModelTask
from fedtap.runtime.errors import UserError

Picture: TypeAlias = "str | Path | bytes | Pillow.Image | NDArray[Any]"
"""A file, the content of one, an image of Pillow, or values ``(H, W, 3)`` uint8, or ``(H, W)`` of one channel."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
MAX_TEXT = 1_000_000
"""Characters of a text; a model reads its first words only."""


class Example(NamedTuple):
    """One example as it is given."""

    image: Picture | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """One example as the towers take it: an image ``(H, W, 3)`` uint8, a text, or both."""

    image: NDArray[np.uint8] | None = None
    text: str | None = None


def inputs_of(task: ModelTask, example: Example, place: str = "") -> Inputs:
    """Return an example checked and decoded; a picture is seen as in training, by the same ``range``.

    Parameters
    ----------
    task
        What it is for.
    example
        The picture, the text, or both, as the task's modality needs them.
    place
        What the example is called in an error.

    Raises
    ------
    UserError
        If a part is missing, more than is needed, empty, or cannot be read.
    """
    before = f"{place}: " if place else ""
    for name, given in (("image", example.image), ("text", example.text)):
        if name in task.pair.parts and given is None:
            article = "an" if name == "image" else "a"
            raise UserError(f"{before}task '{task.name}' needs {article} {name}; add --{name}")
        if name not in task.pair.parts and given is not None:
            raise UserError(f"{before}task '{task.name}' takes {' and '.join(task.pair.parts)}; leave out --{name}")
    if example.text is not None:
        _check_text(example.text, before or "--text: ")
    image = None if example.image is None else _image(example.image, task.range, place)
    return Inputs(image, example.text)


def _check_text(text: object, before: str) -> None:
    if not isinstance(text, str):
        raise UserError(f"{before}a text is {type(text).__name__}; give a str")
    if not text.strip():
        raise UserError(f"{before}is empty; give some words")
    if len(text) > MAX_TEXT:
        raise UserError(f"{before}has {len(text)} characters; give {MAX_TEXT} at the most")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{before}holds half a character (a lone surrogate); give whole ones")


def _image(picture: Picture, limits: Limits | None, place: str) -> NDArray[np.uint8]:
    where = place or "the picture"
    if isinstance(picture, str | Path):
        return read_image(picture, limits)
    if isinstance(picture, bytes):
        return shown(kept_content(picture, where), limits, where)
    if isinstance(picture, Pillow.Image):
        return shown(kept_picture(picture), limits, where)
    if isinstance(picture, np.ndarray):
        one_channel = picture.ndim == 2 and picture.dtype.kind in "uif"
        if picture.size and (one_channel or (picture.shape[2:] == (3,) and picture.dtype == np.uint8)):
            values = (
                picture if picture.dtype == np.uint8 else picture.astype("f8" if picture.dtype.kind == "f" else "i8")
            )
            whole = shown(values, limits, where)
            return whole if whole.ndim == 3 else np.repeat(whole[:, :, None], 3, axis=2)
        raise UserError(f"{where}: an array {picture.shape} of {picture.dtype}; give (H, W, 3) uint8, or (H, W)")
    raise UserError(
        f"{where}: a picture is {type(picture).__name__}; give a file, bytes, an image of Pillow or an array"
    )


def examples_of(task: ModelTask, given: Any) -> Iterator[Example]:
    """Iterate over the examples of what :meth:`~fedtap.PersonalModel.predict_many` takes; see there.

    Raises
    ------
    UserError
        If it is no folder and holds no examples of the task.
    """
    if isinstance(given, str | Path):
        yield from (Example(image=path) for path in pictures_in(task, Path(given)))
    elif hasattr(given, "to_dict") and hasattr(given, "columns"):  # a data frame of pandas
        yield from (_of_one(task, row) for row in given.to_dict("records"))
    elif isinstance(given, Iterable) and not isinstance(given, Mapping | bytes):
        yield from (_of_one(task, each) for each in given)
    else:
        raise UserError(f"examples are {type(given).__name__}; give an iterable, a data frame or a folder of pictures")


def pictures_in(task: ModelTask, folder: Path) -> list[Path]:
    """Return the pictures in a folder and below, in the order of their names; what is hidden is left alone.

    Raises
    ------
    UserError
        If there is no such folder, no picture in it, or the task takes more than a picture.
    """
    if task.pair.parts != ("image",):
        raise UserError(f"{folder}: task '{task.name}' takes {' and '.join(task.pair.parts)}; give a table of examples")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of pictures, or a table")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES
        and path.is_file()
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UserError(f"{folder}: no pictures in it; give another folder, or a table")
    return found


def columns_of(task: ModelTask, names: Iterable[str]) -> dict[str, str]:
    """Return by part of the input the name under which a table has it: as the model's own training data did, or plainly.

    >>> task = ModelTask(
    ...     name="t", type="classification", modality="text", domain="d", head="t", columns={"text": "question"}
    ... )
    >>> columns_of(task, ["question", "text"]), columns_of(task, ["text"])
    ({'text': 'question'}, {'text': 'text'})
    """
    there = set(names)
    chosen = {part: task.columns.get(part, part) for part in task.pair.parts}
    return {part: name if name in there else part for part, name in chosen.items()}


def _of_one(task: ModelTask, given: Any) -> Example:
    if isinstance(given, Example):
        return given
    if isinstance(given, Mapping):
        columns = columns_of(task, given)
        return Example(**{part: given.get(column) for part, column in columns.items()})
    (part, *more) = task.pair.parts
    if more:
        raise UserError(
            f"task '{task.name}' takes an image and a text; give each example as {{'image': ..., 'text': ...}}"
        )
    return Example(**{part: given})
