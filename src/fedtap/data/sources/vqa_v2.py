"""VQA v2: questions about photographs, answered in a word or a few. A tenth of its validation part, published in one piece.

It is divided by picture: all questions about one are in one split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedtap.data.example import Example, Published, by_answer
from fedtap.data.sources.base import Supports
from fedtap.data.sources.hub.rows import Column, Picture, Row, Text
from fedtap.data.sources.hub.source import HubSource
from fedtap.data.sources.intake import Intake
from fedtap.scenario.scenario import TaskSettings

PROMPT = "{question}"


class VQAv2(HubSource):
    """Text generation: the most common answer to a question about a picture."""

    name = "vqa_v2"
    title = "VQA v2 (Goyal et al., 2017), a tenth of its validation part"
    licence = "questions and answers CC BY 4.0; pictures of COCO under the terms of Flickr"
    hub = "merve/vqav2-small"
    splits: Mapping[str, Published | None] = {"validation": None}
    supports: Supports = frozenset({("text_generation", "image+text")})

    def columns(self, task: TaskSettings) -> Mapping[str, Column]:
        """Return question, answer and picture."""
        return {"question": Text(), "multiple_choice_answer": Text(), "image": Picture()}

    def example(self, row: Row, task: TaskSettings, split: Published | None) -> Example:
        """Return a question, known by its picture."""
        image = row["image"]
        text = PROMPT.format(question=row["question"])
        return Example(image.key, image, text, row["multiple_choice_answer"], 0, split)

    def read(self, task: TaskSettings, folder: Path, intake: Intake) -> Sequence[Example]:
        """Return one example a question; answers are what label skew goes by."""
        return by_answer(super().read(task, folder, intake))
