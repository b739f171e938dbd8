r"""Shift: clients whose pictures look, and whose texts read, otherwise than those of others.

Kinds are dealt in turn to the clients in the order of their ids, those held out too: nothing random is in it, and a client's kind
is the same under every seed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedtap.data.example import Example, ImageRef
from fedtap.data.splits import unit
from fedtap.runtime.randomness import numpy_generator
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import Scenario

Pixels: TypeAlias = NDArray[np.uint8]
AS_IS = "as_is"
TINT = (1.0, 0.6, 0.3)  # of red, green and blue
NOISE = 48.0  # standard deviation, of 255
BLUR = 16  # its radius is this part of the longer side
FAMILIAR = 0.5  # share of all words that a dialect leaves alone
_WORD = re.compile(r"[^\W\d_]+")


def dealt(scenario: Scenario) -> dict[tuple[str, str], tuple[str, str]]:
    """Return, for each client and task that looks at something shifted, the kinds of its pictures and of its texts."""
    shift = scenario.data.shift
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for turn, client in enumerate([] if shift is None else sorted(scenario.clients, key=lambda client: client.id)):
        assert shift is not None
        for pair in client.pairs:
            picture = shift.pictures[turn % len(shift.pictures)] if "image" in pair.parts else AS_IS
            text = shift.texts[turn % len(shift.texts)] if "text" in pair.parts else AS_IS
            if (picture, text) != (AS_IS, AS_IS):
                found[client.id, pair.task] = picture, text
    return found


def shifted(example: Example, picture: str, text: str) -> Example:
    """Return an example as a client with these kinds of pictures and texts has it."""
    if example.image is not None and picture != AS_IS:
        example = replace(example, image=_repainted(example.image, picture))
    if example.text is not None and text != AS_IS:
        example = replace(example, text=reworded(example.text, text))
    return example


def repainted(pixels: Pixels, kind: str, name: str) -> Pixels:
    """Return a picture, ``(height, width, 3)``, as a client with a shift sees it; ``name`` fixes what is random about it."""
    if kind == "invert":
        return np.bitwise_not(pixels)
    if kind == "rotate":
        return np.ascontiguousarray(np.rot90(pixels))
    if kind == "tint":
        tinted: Pixels = np.rint(pixels * np.array(TINT)).astype(np.uint8)
        return tinted
    if kind == "noise":
        noisy = pixels + NOISE * numpy_generator(0, "shift", "noise", name).standard_normal(pixels.shape)
        return np.rint(noisy).clip(0, 255).astype(np.uint8)
    from PIL import Image, ImageFilter  # Pillow is loaded by the first picture

    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(max(pixels.shape[:2]) / BLUR))
    return np.asarray(blurred)


def reworded(text: str, kind: str) -> str:
    """Return a text as a client with a shift reads it: in a dialect, or its first half alone.

    Which words a dialect knows follows from each word alone, so that all who speak it speak one.

    >>> reworded("one two three four five", "length"), reworded("The the", "vocabulary") in ("The the", "Gur gur")
    ('one two three', True)
    """
    if kind == "length":
        words = text.split()
        return " ".join(words[: (len(words) + 1) // 2])
    return _WORD.sub(lambda found: _dialect(found.group()), text)


def _dialect(word: str) -> str:
    return word if unit(f"dialect {word.casefold()}") < FAMILIAR else codecs.encode(word, "rot13")


def _repainted(image: ImageRef, kind: str) -> ImageRef:
    """Return a reference to the picture repainted: to a tower another one, to the splits the same."""
    load = partial(_load, image.load, kind, image.digest)
    return replace(image, digest=digest("shift", kind, image.digest), load=load, kept=image.key)


def _load(load: Callable[[], Pixels], kind: str, name: str) -> Pixels:
    return repainted(load(), kind, name)
