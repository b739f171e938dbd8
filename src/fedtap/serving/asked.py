"""What a request asks and what it is answered, as typed JSON: this is what OpenAPI shows. Not here: how models answer."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from fedtap.data.images import FORMATS
from fedtap.models.given import Example, Inputs, inputs_of
from fedtap.models.saved_model import ModelTask
from fedtap.runtime.errors import UserError
from fedtap.serving.gate import Limits


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AskedExample(_Strict):
    """One example: what the task takes of a picture and a text."""

    image: Annotated[str | None, Field(description="The content of an image file, in base64.")] = None
    text: Annotated[str | None, Field(description="The text.")] = None


class Asked(_Strict):
    """Examples of one task."""

    task: Annotated[str | None, Field(description="Which task; needed where the model has several.")] = None
    examples: Annotated[list[AskedExample], Field(min_length=1)]


class Answer(_Strict):
    """The answer to one example: of a classification label, or labels, and probabilities, a number, a text, or a picture."""

    label: str | None = None
    labels: list[str] | None = None
    probabilities: dict[str, float] | None = None
    value: float | None = None
    text: str | None = None
    image: Annotated[str | None, Field(description="A PNG file, in base64.")] = None


class Answered(_Strict):
    """The answers, in the order of the examples."""

    model: str
    task: str
    answers: list[Answer]


class Task(_Strict):
    """What a model can be asked."""

    name: str
    type: str
    modality: str
    classes: list[str]


class Model(_Strict):
    """A model that is served."""

    name: str
    client: str
    tasks: list[Task]


class Health(_Strict):
    """Whether the server answers, and with how many models."""

    status: str
    models: int


def decoded(task: ModelTask, asked: Sequence[AskedExample], limits: Limits) -> list[Inputs]:
    """Return the examples as the model takes them.

    Raises
    ------
    UserError
        If there are too many or one is too large, does not fit the task, or cannot be read; the line says which.
    """
    if len(asked) > limits.examples:
        raise UserError(f"{len(asked)} examples; send {limits.examples} at the most")
    found, pixels = [], 0
    for at, example in enumerate(asked):
        place = f"examples[{at}]"
        if example.text is not None and len(example.text) > limits.text:
            raise UserError(f"{place}: the text has {len(example.text)} characters; send {limits.text} at the most")
        image = None if example.image is None else _content(example.image, place, limits)
        if image is not None and "image" in task.pair.parts:
            pixels += _pixels(image, place)
            if pixels > limits.pixels:
                raise UserError(
                    f"{place}: the pictures have more than {limits.pixels} pixels together; send smaller ones"
                )
        found.append(inputs_of(task, Example(image, example.text), place))
    return found


def answered(output: Any) -> Answer:
    """Return an answer of a model as JSON has it."""
    if isinstance(output, dict):
        return Answer(**output)
    if isinstance(output, np.ndarray):
        file = io.BytesIO()
        Image.fromarray(output).save(file, format="PNG")
        return Answer(image=base64.b64encode(file.getvalue()).decode())
    return Answer(value=output) if isinstance(output, float) else Answer(text=output)


def _content(encoded: str, place: str, limits: Limits) -> bytes:
    if len(encoded) > limits.image * 4 // 3 + 4:
        raise UserError(f"{place}: the image file is larger than {limits.image} bytes; send a smaller one")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{place}: the image is not in base64; encode the content of an image file") from error


def _pixels(content: bytes, place: str) -> int:
    """Return how many pixels an image file says that it has; nothing is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return int(image.width * image.height)
    except Exception as error:  # Pillow's readers raise a dozen kinds on what is no image
        raise UserError(f"{place}: not a readable image; send the content of a PNG or JPEG file") from error
