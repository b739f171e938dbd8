"""MMLU: questions of professional examinations with four choices; the answer is the text of the right one.

The published training rows are of other subjects. As in the paper a subject's test rows are for training here, and its
validation rows are the test; its five ``dev`` rows are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.data.example import Example, Published, text_key
from fedtap.data.sources.base import Supports
from fedtap.data.sources.hub.rows import Column, Label, Row, Text, Texts
from fedtap.data.sources.hub.source import HubSource
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

PROMPT = "{question} choices: {choices} answer:"
_LETTERS = "ABCD"


class MMLU(HubSource):
    """Text generation: the right choice of one subject's questions."""

    licence = "MIT"
    hub = "cais/mmlu"
    splits: Mapping[str, Published | None] = {"test": "train", "validation": "test"}
    supports: Supports = frozenset({("text_generation", "text")})

    def __init__(self, subject: str) -> None:
        self.name, self.config = f"mmlu_{subject}", subject
        self.title = f"MMLU (Hendrycks et al., 2021), {subject.replace('_', ' ')}"

    def columns(self, task: TaskSettings) -> Mapping[str, Column]:
        """Return question, subject, choices and the number of the right choice."""
        return {
            "question": Text(),
            "subject": Text(),
            "choices": Texts(least=len(_LETTERS)),
            "answer": Label(len(_LETTERS)),
        }

    def example(self, row: Row, task: TaskSettings, split: Published | None) -> Example:
        """Return a question with its choices."""
        if row["subject"] != self.config:
            raise UserError(
                f"{row.place}: 'subject' is {row['subject']}, not {self.config}; give the data of that subject"
            )
        choices = row["choices"]
        answer = choices[row["answer"]]
        if not answer:
            raise UserError(f"{row.place}: the right one of 'choices' is empty; fill it, or remove the row")
        listed = " ".join(f"({letter}) {choice}" for letter, choice in zip(_LETTERS, choices, strict=False))
        text = PROMPT.format(question=row["question"], choices=listed)
        return Example(text_key(text), None, text, answer, 0, split)


PROFESSIONAL_LAW = MMLU("professional_law")
PROFESSIONAL_MEDICINE = MMLU("professional_medicine")
MORAL_SCENARIOS = MMLU("moral_scenarios")
