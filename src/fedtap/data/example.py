"""One example of a task, as a reference: what it is about and where its pixels are, never the pixels themselves."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Published = Literal["train", "test"]
_BETWEEN_WORDS = re.compile(r"[\W_]+")
"""Runs of what is neither letter nor digit, as ``str.isalnum`` has it."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture that is read when it is needed.

    Parameters
    ----------
    digest
        Of the content (the file's bytes, or the pixels where there is no file); equal pictures have equal digests.
    load
        Returns the pixels, ``(height, width, 3)`` uint8. Nothing is decoded before it is called.
    """

    digest: str
    load: Callable[[], npt.NDArray[np.uint8]] = field(compare=False, repr=False)

    @classmethod
    def of_file(cls, path: Path) -> ImageRef:
        """Return a reference to a picture file; its bytes are hashed, not decoded.

        Raises
        ------
        UserError
            If the file cannot be read.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"{path}: the image cannot be read ({reason}); restore it, or mend its permissions"
            ) from error
        return cls(digest(content), partial(_read, path))


@dataclass(frozen=True, slots=True)
class Example:
    """An example of one task.

    Parameters
    ----------
    key
        The identity of its content. Examples with one key always land in one split: all questions about a picture, a
        sentence that serves two tasks, a picture that is classified here and reconstructed there.
    image, text
        The input; None where the modality has no such part.
    target
        Class index (classification), answer (text generation), or None (reconstruction: the image is the target).
    stratum
        What label skew goes by: the class index, or the index of the answer; 0 where there is no such thing.
    split
        The split in which its source publishes it, if the source has splits of its own.
    """

    key: str
    image: ImageRef | None
    text: str | None
    target: int | str | None
    stratum: int = 0
    split: Published | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes two examples of one task the same: input and target."""
        return (self.key, self.image and self.image.digest, self.text, self.target)


def text_key(text: str) -> str:
    """Return the identity of a text: letters and digits count; case, punctuation and spacing do not.

    >>> text_key("What is AI?") == text_key("what is  ai")
    True
    """
    words = _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return digest("text", words.strip() or text)


def distinct(examples: list[Example]) -> tuple[Example, ...]:
    """Return the examples without repetitions, the first of each kept, in their order."""
    found: dict[tuple[Any, ...], Example] = {}
    for example in examples:
        found.setdefault(example.identity, example)
    return tuple(found.values())


def by_answer(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return the examples with the index of their answer among all answers, in alphabetical order, as stratum."""
    examples = tuple(examples)
    index = {answer: number for number, answer in enumerate(sorted({str(example.target) for example in examples}))}
    return tuple(replace(example, stratum=index[str(example.target)]) for example in examples)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    from fedtap.data.images import read_image  # Pillow is loaded by the first picture, not by `fedtap scenario plan`

    return read_image(path)
