"""One example of a task, as a reference: what it is about and where its pixels are, never the pixels themselves."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
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

Published = Literal["train", "own_train", "own_validation", "test"]
"""``train`` is divided between train and validation; ``own_train`` and ``own_validation`` are as their owner has put them."""
_BETWEEN_WORDS = re.compile(r"[\W_]+")
"""Runs of what is neither letter nor digit, as ``str.isalnum`` has it."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture that is read when it is needed.

    Parameters
    ----------
    digest
        Of what a model sees, by which its features are known; equal pictures have equal digests.
    load
        Returns the pixels, ``(height, width, 3)`` uint8. Nothing is decoded before it is called.
    kept
        Of the pixels as they are kept, before any range is shown; None where the digest is not of pixels: of the files of
        packages, no two of which hold the same picture.
    extent
        The smallest and the largest of its values, as shares of the range that they have; None where nobody has looked.
    """

    digest: str
    load: Callable[[], npt.NDArray[np.uint8]] = field(compare=False, repr=False)
    kept: str | None = field(default=None, compare=False)
    extent: tuple[float, float] | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """The identity of the picture, however it is saved and shown."""
        return self.kept or self.digest

    @classmethod
    def of_file(cls, path: Path) -> ImageRef:
        """Return a reference to a picture file by its bytes, which are hashed, not decoded: for the files of packages.

        A user's own pictures may be saved twice, and are known by their pixels (:func:`fedtap.data.pixels.look`).

        Raises
        ------
        UserError
            If the file cannot be read.
        """
        return cls(digest(file_bytes(path)), partial(_read, path))


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
        Class index (classification), indices of the labels that hold in their order (multi-label classification), answer (text
        generation), number (regression), or None (reconstruction: the image is the target).
    stratum
        What label skew goes by: the class index, the index of the answer, or of its rarest label (-1: it has none); 0 where
        there is no such thing.
    split
        The split in which its source publishes it, or its owner has put it, if either has splits of their own.
    group
        What it belongs to besides: the patient, the author. Examples of one group land in one split.
    also
        Text generation: further answers that are as right as the target. Trained on is the target alone.
    """

    key: str
    image: ImageRef | None
    text: str | None
    target: int | float | str | tuple[int, ...] | None
    stratum: int = 0
    split: Published | None = None
    group: str | None = None
    also: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """The indices of its class, or of its labels; none where it is of another kind of task."""
        return self.target if isinstance(self.target, tuple) else (self.target,) if isinstance(self.target, int) else ()

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes two examples of one task the same: input and target."""
        about = (self.key, self.image and self.image.digest, self.text, self.target)
        return (*about, self.also) if self.also else about


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


def by_rarest_label(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return the examples with, as stratum, the one of their labels that the fewest of all have (the first of several); else -1.

    A skewed mix is drawn over these strata, so that rare labels, of which there are too few to go round, are what differs.
    """
    examples = tuple(examples)
    counts = Counter(label for example in examples for label in example.labels)
    return tuple(
        replace(example, stratum=min(example.labels, key=lambda label: (counts[label], label), default=-1))
        for example in examples
    )


def file_bytes(path: Path) -> bytes:
    """Return the bytes of a picture's file; raises :class:`UserError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: the image cannot be read ({reason}); restore it, or mend its permissions") from error


def _read(path: Path) -> npt.NDArray[np.uint8]:
    from fedtap.data.images import read_image  # Pillow is loaded by the first picture, not by `fedtap scenario plan`

    return read_image(path)
