"""What a run keeps of single test examples (``outcomes/CLIENT.json``), read and bounded: a folder may be a stranger's.

Not here: what is written there (evaluation), whether a difference is more than chance (gains).
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from fedtap.reporting.run.told import Name, Number, Whole, check_told
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json

FOLDER = "outcomes"
MOST_BYTES = 50_000_000  # of a client's file
SIDE = 64
"""The most pixels that a side of a picture has."""
_PICTURE = Annotated[str, Field(max_length=100_000)]
_TEXT = Annotated[str, Field(max_length=10_000)]
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)
_MEND = "restore the run's folder from a copy"


class _Kept(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class AnswerTold(_Kept):
    """An answer, or a truth: a text, or a picture as a PNG file in base64; ``share`` is how likely a model holds it."""

    text: _TEXT | None = None
    image: _PICTURE | None = None
    share: Annotated[Number, Field(ge=0, le=1)] | None = None


class ShownTold(_Kept):
    """An example: its place in the test split, what goes in, what is right, what each model answers."""

    place: Whole
    text: _TEXT | None = None
    image: _PICTURE | None = None
    truth: AnswerTold
    answers: Annotated[dict[Name, AnswerTold], Field(max_length=100)]


class TaskKept(_Kept):
    """What is kept of a client's task."""

    metric: Name
    sizes: Annotated[dict[Name, Whole], Field(max_length=10)]
    values: Annotated[dict[Name, Annotated[list[Number | None], Field(max_length=1_000_000)]], Field(max_length=100)]
    shown: Annotated[list[ShownTold], Field(max_length=100)]


class ClientKept(_Kept):
    """``outcomes/CLIENT.json``."""

    tasks: Annotated[dict[Name, TaskKept], Field(max_length=10_000)]


Kept = Mapping[str, Any]
"""What is kept of a client's task, as :class:`TaskKept` says."""


def read_outcomes(folder: Path, run: Mapping[str, Any], clients: Sequence[str]) -> dict[str, Mapping[str, Kept]]:
    """Return client -> task -> what a run has kept; nothing of clients without a file.

    Raises
    ------
    UserError
        If a file is damaged, of another run or client, or not what a run writes.
    """
    found: dict[str, Mapping[str, Kept]] = {}
    place = folder / FOLDER
    if not isinstance(run.get("kind"), str) or not place.is_dir():
        return found
    there = {path.name for path in place.iterdir()}
    for client in clients:
        path = place / f"{client}.json"
        if path.name not in there:
            continue
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path}: is a link that leads out of the run's folder; copy that file here")
        kept = read_sealed_json(path, {"what": FOLDER, "kind": run["kind"], "client": client}, _MEND, MOST_BYTES)
        check_told(ClientKept, kept, path)
        found[client] = kept["tasks"]
    return found


def values_of(
    outcomes: Mapping[str, Mapping[str, Kept]], client: str, task: str, metric: str
) -> Mapping[str, Sequence[float]]:
    """Return each model's outcomes on a client's task, of those that are numbers throughout; none for another metric."""
    kept = outcomes.get(client, {}).get(task)
    if kept is None or kept["metric"] != metric:
        return {}
    sizes = [len(values) for values in kept["values"].values()]
    if len(set(sizes)) > 1:
        raise ValueError(f"client {client}, task {task}: outcomes of {sizes} examples")
    return {model: values for model, values in kept["values"].items() if None not in values}


def picture(png: str) -> str:
    """Return a kept picture anew, in base64: it was decoded, is no larger than it may be, and holds pixels alone.

    Raises
    ------
    ValueError
        If it is no such picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = Image.open(io.BytesIO(base64.b64decode(png, validate=True)), formats=("PNG",))
        with image:
            if max(image.size) > SIDE:
                raise ValueError(f"a picture of {image.size[0]} x {image.size[1]} pixels, {SIDE} at the most")
            pixels = image.convert("RGB")
    except (*_BROKEN, binascii.Error, Image.DecompressionBombError, Warning) as error:
        raise ValueError(f"a picture that is none ({type(error).__name__})") from error
    file = io.BytesIO()
    pixels.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
