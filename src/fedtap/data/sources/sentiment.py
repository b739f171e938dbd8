"""Sentiment of movie reviews: single sentences (``sentiment``) or whole reviews (``imdb``), negative or positive."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fedtap.data.example import Example, distinct, text_key
from fedtap.data.sources.base import Source, Supports
from fedtap.data.sources.reviews import IMDB, ROTTEN_TOMATOES, reviews
from fedtap.scenario.scenario import TaskSettings


class Sentiment(Source):
    """Binary classification of reviews of one origin."""

    supports: Supports = frozenset({("classification", "text")})

    def __init__(self, name: str, title: str, *, origin: str, licence: str, hub: str) -> None:
        self.name, self.title, self.licence, self.hub = name, title, licence, hub
        self._origin = origin

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return (negative, positive)."""
        return ("negative", "positive")

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a review."""
        return _reviews(self._origin)


@cache
def _reviews(origin: str) -> tuple[Example, ...]:
    return distinct([Example(text_key(text), None, text, label, label) for text, label in reviews(origin)])


SENTIMENT = Sentiment(
    "sentiment",
    "Rotten Tomatoes sentence polarity (Pang and Lee, 2005), training part",
    origin=ROTTEN_TOMATOES,
    licence="unstated by its authors; published for research",
    hub="cornell-movie-review-data/rotten_tomatoes",
)
LONG_SENTIMENT = Sentiment(
    "imdb",
    "IMDB large movie review data set (Maas et al., 2011), training part",
    origin=IMDB,
    licence="unstated by its authors; published for research",
    hub="stanfordnlp/imdb",
)
