"""easy-VQA: questions about pictures of one coloured shape, 13 answers, with its own training and test pictures."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from fedtap.data.example import Example, ImageRef, Published, distinct
from fedtap.data.sources.base import Source, Supports
from fedtap.data.sources.packages import package_file
from fedtap.scenario.scenario import TaskSettings

# fmt: off
_ANSWERS = (
    "circle", "green", "red", "gray", "yes", "teal", "black", "rectangle", "yellow", "triangle", "brown", "blue", "no",
)
# fmt: on
_SPLITS: tuple[Published, ...] = ("train", "test")


class EasyVQA(Source):
    """Questions answered in words or as a class, and the pictures by themselves."""

    name = "easy_vqa"
    title = "easy-VQA 1.0 (Victor Zhou, 2019)"
    licence = "MIT"
    supports: Supports = frozenset(
        {("text_generation", "image+text"), ("classification", "image+text"), ("reconstruction", "image")}
    )

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the 13 answers, in the order in which the data set lists them."""
        return _ANSWERS if task.type == "classification" else ()

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a question, or one a picture for reconstruction."""
        return _pictures() if task.type == "reconstruction" else _questions(as_class=task.type == "classification")


@cache
def _images() -> dict[tuple[Published, int], ImageRef]:
    """Return the pictures by published split and number; no two of the 5,000 are alike, in bytes or in pixels."""
    images = {}
    for split in _SPLITS:
        paths = package_file("easy_vqa", "data", split, "images").glob("*.png")
        for path in sorted(paths, key=lambda path: int(path.stem)):
            images[split, int(path.stem)] = ImageRef.of_file(path)
    return images


@cache
def _pictures() -> tuple[Example, ...]:
    return distinct([Example(image.digest, image, None, None, 0, split) for (split, _), image in _images().items()])


@cache
def _questions(*, as_class: bool) -> tuple[Example, ...]:
    index = {answer: number for number, answer in enumerate(_ANSWERS)}
    found: list[Example] = []
    for split in _SPLITS:
        rows = json.loads(package_file("easy_vqa", "data", split, "questions.json").read_text(encoding="utf-8"))
        for question, answer, number in rows:
            image, stratum = _images()[split, number], index[answer]
            found.append(Example(image.digest, image, question, stratum if as_class else answer, stratum, split))
    return distinct(found)
