r"""What makes clients contradict each other, turned on purpose: labels that some exchange, inputs that look or read otherwise.

**Conflict.** Of the n clients that share a head, :math:`round(share \cdot n)` are drawn by the run's seed. Each of these
exchanges :math:`\max(2, round(share \cdot C))` of the C classes in one cycle of its own, so that none of them keeps its name. Of
two classes there is but one exchange, and all clients in conflict agree on it.

**Shift.** Kinds are dealt in turn to the clients in the order of their ids, those held out too: nothing random is in it, and a
client's kind is the same under every seed.

All three splits of a client are under its dials, its own test split too: a client is tested on the world that it lives in. The
cross-client test asks the examples of OTHER clients as those have them, with their names for classes and their looks: what a
model knows of the world of others. What split an example is in was decided before, by its content as it was. Not here: how much
of it there is to be (scenario/dials).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedtap.data.example import Example, ImageRef
from fedtap.data.sources import source
from fedtap.data.splits import unit
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import numpy_generator
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import Scenario

Pixels: TypeAlias = NDArray[np.uint8]
Turn = Callable[[Example], Example]
TINT = (1.0, 0.6, 0.3)  # of red, green and blue
NOISE = 48.0  # standard deviation, of 255
BLUR = 16  # its radius is this part of the longer side
FAMILIAR = 0.5  # share of all words that a dialect leaves alone
_WORD = re.compile(r"[^\W\d_]+")


def turned(scenario: Scenario, seed: int) -> Mapping[tuple[str, str], Turn]:
    """Return, for the clients and tasks whose examples are changed, what is done to each example.

    Raises
    ------
    UserError
        If ``data.conflict`` names a task whose classes no two clients share.
    """
    done: dict[tuple[str, str], list[Turn]] = {}
    for place, exchange in exchanged(scenario, seed).items():
        done.setdefault(place, []).append(_renaming(exchange))
    shift = scenario.data.shift
    if shift is not None:
        for turn, client in enumerate(sorted(scenario.clients, key=lambda client: client.id)):
            picture, text = shift.pictures[turn % len(shift.pictures)], shift.texts[turn % len(shift.texts)]
            for pair in client.pairs:
                if picture != "as_is" and "image" in pair.parts:
                    done.setdefault((client.id, pair.task), []).append(_repainting(picture))
                if text != "as_is" and "text" in pair.parts:
                    done.setdefault((client.id, pair.task), []).append(_rewording(text))
    return {place: _in_turn(turns) for place, turns in done.items()}


def exchanged(scenario: Scenario, seed: int) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Return, for each client and task in conflict, what each class is called there, ``(classes,)``."""
    conflict = scenario.data.conflict
    if conflict is None:
        return {}
    holders: dict[str, set[str]] = {}
    tasks: dict[str, list[tuple[str, str]]] = {}
    classes: dict[str, int] = {}
    for client in scenario.clients:
        for task in client.tasks:
            if task.type == "classification" and (conflict.tasks is None or task.name in conflict.tasks):
                holders.setdefault(task.pair.head, set()).add(client.id)
                tasks.setdefault(task.pair.head, []).append((client.id, task.name))
                classes[task.pair.head] = len(source(task.source).classes(task))
    shared = [head for head in sorted(holders) if len(holders[head]) > 1]
    for wanted in conflict.tasks or ():
        if wanted not in {name for head in shared for _, name in tasks[head]}:
            raise UserError(
                f"data.conflict.tasks: '{wanted}' is no classification task that several clients share; name one that is, or "
                "leave out the key for all of them"
            )
    found: dict[tuple[str, str], NDArray[np.int64]] = {}
    for head in shared:
        clients = sorted(holders[head])
        order = numpy_generator(seed, "conflict", head).permutation(len(clients))
        drawn = {clients[place] for place in order[: round(conflict.clients * len(clients))]}
        for holder, name in tasks[head]:
            if holder in drawn and conflict.classes > 0:
                generator = numpy_generator(seed, "conflict", head, holder)
                found[holder, name] = exchange(classes[head], conflict.classes, generator)
    return found


def exchange(classes: int, share: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return what each class is called where a share of them, two at the least, have gone round in one cycle, ``(classes,)``.

    >>> called = exchange(5, 0.6, np.random.default_rng(0))
    >>> sorted(called.tolist()), int((called != np.arange(5)).sum())
    ([0, 1, 2, 3, 4], 3)
    """
    called = np.arange(classes)
    moved = generator.permutation(classes)[: max(2, round(share * classes))]
    called[moved] = np.roll(moved, 1)
    return called


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


def _renaming(called: NDArray[np.int64]) -> Turn:
    def turn(example: Example) -> Example:
        assert isinstance(example.target, int)
        return replace(example, target=int(called[example.target]))

    return turn


def _repainting(kind: str) -> Turn:
    def turn(example: Example) -> Example:
        return example if example.image is None else replace(example, image=_shifted(example.image, kind))

    return turn


def _rewording(kind: str) -> Turn:
    def turn(example: Example) -> Example:
        return example if example.text is None else replace(example, text=reworded(example.text, kind))

    return turn


def _in_turn(turns: list[Turn]) -> Turn:
    def turn(example: Example) -> Example:
        for each in turns:
            example = each(example)
        return example

    return turn


def _shifted(image: ImageRef, kind: str) -> ImageRef:
    """Return a reference to the picture repainted: to a tower another one, to the splits the same."""
    load = partial(_load, image.load, kind, image.digest)
    return replace(image, digest=digest("shift", kind, image.digest), load=load, kept=image.key)


def _load(load: Callable[[], Pixels], kind: str, name: str) -> Pixels:
    return repainted(load(), kind, name)
