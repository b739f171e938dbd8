"""CommonGen: write a sentence about an everyday scene with the given concepts.

A set of concepts has several sentences, all in one split. The published test sentences are kept back by the authors, so the
validation sentences are the test here.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.data.example import Example, Published, text_key
from fedtap.data.sources.base import Supports
from fedtap.data.sources.hub.rows import Column, Row, Text, Texts
from fedtap.data.sources.hub.source import HubSource
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

PROMPT = "write a sentence with the words: {concepts}"


class CommonGen(HubSource):
    """Text generation: a sentence from its concepts."""

    name = "common_gen"
    title = "CommonGen (Lin et al., 2020)"
    licence = "MIT"
    hub = "allenai/common_gen"
    splits: Mapping[str, Published | None] = {"train": "train", "validation": "test"}
    supports: Supports = frozenset({("text_generation", "text")})

    def columns(self, task: TaskSettings) -> Mapping[str, Column]:
        """Return the concepts and the sentence."""
        return {"concepts": Texts(), "target": Text()}

    def example(self, row: Row, task: TaskSettings, split: Published | None) -> Example:
        """Return a sentence, known by the set of its concepts."""
        concepts = row["concepts"]
        if not all(concepts):
            raise UserError(f"{row.place}: one of 'concepts' is empty; fill it, or remove the row")
        key = text_key(" ".join(sorted(concepts)))
        return Example(key, None, PROMPT.format(concepts=", ".join(concepts)), row["target"], 0, split)
