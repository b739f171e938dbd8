"""AG News: news items with title and first sentences, in four topics. The hub numbers the topics from 1."""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.data.example import Example, Published, text_key
from fedtap.data.sources.base import Supports
from fedtap.data.sources.hub.rows import Column, Label, Row, Text
from fedtap.data.sources.hub.source import HubSource
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

_TOPICS = ("World", "Sports", "Business", "Sci/Tech")


class AGNews(HubSource):
    """Classification of news by topic."""

    name = "ag_news"
    title = "AG's news topic classification (Zhang, Zhao and LeCun, 2015)"
    licence = "unstated; its author offers it for research and other non-commercial use"
    hub = "sh0416/ag_news"
    splits: Mapping[str, Published | None] = {"train": "train", "test": "test"}
    supports: Supports = frozenset({("classification", "text")})

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the four topics."""
        return _TOPICS

    def columns(self, task: TaskSettings) -> Mapping[str, Column]:
        """Return title, description and label."""
        part = Text(needed=False)
        return {"title": part, "description": part, "label": Label(len(_TOPICS), first=1)}

    def example(self, row: Row, task: TaskSettings, split: Published | None) -> Example:
        """Return an item, title and description in one text."""
        text = ". ".join(part for part in (row["title"], row["description"]) if part)
        if not text:
            raise UserError(f"{row.place}: 'title' and 'description' are empty; fill one, or remove the row")
        return Example(text_key(text), None, text, row["label"], row["label"], split)
