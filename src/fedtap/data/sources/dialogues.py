"""Questions and answers on a few topics from the ChatterBot corpus, in English.

A question is answered once: where the corpus gives several answers the first is kept, and questions that differ only in case,
punctuation or spacing are one question. Answers are taken whole; program code keeps its lines.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

from fedtap.data.example import Example, text_key
from fedtap.data.sources.base import Source, Supports
from fedtap.data.sources.packages import package_file
from fedtap.scenario.scenario import TaskSettings

_IN_TURNS = frozenset({"conversations"})  # each line answers the one before; elsewhere all lines answer the first


class Dialogues(Source):
    """Text generation: the answer to a question of the given topics."""

    licence = "BSD-3-Clause"
    supports: Supports = frozenset({("text_generation", "text")})

    def __init__(self, name: str, topics: tuple[str, ...]) -> None:
        self.name, self.topics = name, topics
        self.title = f"ChatterBot corpus, English, topics: {', '.join(topics)}"

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return no classes."""
        return ()

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a distinct question."""
        first: dict[str, Example] = {}
        for topic in self.topics:
            for question, answer in _exchanges(topic):
                key = text_key(question)
                first.setdefault(key, Example(key, None, question, answer))
        return tuple(first.values())


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, written in C where PyYAML has it: the same values thirteen times faster. An installed package is read by it; a
user's file is not (:mod:`fedtap.scenario.plain_yaml`), since deep nesting would end the process."""


@cache
def _exchanges(topic: str) -> tuple[tuple[str, str], ...]:
    """Return (question, answer) in the order of the file; a conversation that is not a list of lines is malformed: left out."""
    path = package_file("chatterbot_corpus", "data", "english", f"{topic}.yml")
    found: list[tuple[str, str]] = []
    for lines in yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)["conversations"]:
        if not isinstance(lines, list):
            continue
        said = [" ".join(line.split()) if "```" not in line else line.strip() for line in map(str, lines)]
        found += pairwise(said if topic in _IN_TURNS else said[:2])
    return tuple((question, answer) for question, answer in found if question and answer)


TRIVIA = Dialogues("trivia", ("trivia",))
SMALL_TALK = Dialogues("small_talk", ("conversations", "emotion"))
COMPUTING = Dialogues("computing", ("coding", "ai"))
