"""Data sets of the hub that are pictures with one label each, to be classified or drawn again."""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.data.example import Example, Published
from fedtap.data.sources.base import Supports
from fedtap.data.sources.hub.rows import Column, Label, Picture, Row
from fedtap.data.sources.hub.source import HubSource
from fedtap.scenario.scenario import TaskSettings


class HubPictures(HubSource):
    """Classification and reconstruction of pictures.

    Parameters
    ----------
    name, title, licence, hub, splits
        As for every source.
    classes
        The names of the classes, in the order of their numbers.
    image, label
        The hub's columns.
    first
        The number of the first class.
    """

    supports: Supports = frozenset({("classification", "image"), ("reconstruction", "image")})

    def __init__(
        self,
        name: str,
        *,
        title: str,
        licence: str,
        hub: str,
        splits: Mapping[str, Published | None],
        classes: tuple[str, ...],
        image: str = "image",
        label: str = "label",
        first: int = 0,
    ) -> None:
        self.name, self.title, self.licence, self.hub, self.splits = name, title, licence, hub, splits
        self._classes, self._image, self._label = classes, image, label
        self._first = first

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the names of the classes."""
        return self._classes if task.type == "classification" else ()

    def columns(self, task: TaskSettings) -> Mapping[str, Column]:
        """Return the picture, and its label where it is to be classified."""
        picture: dict[str, Column] = {self._image: Picture()}
        labelled: dict[str, Column] = {self._label: Label(len(self._classes), self._first)}
        return picture | labelled if task.type == "classification" else picture

    def example(self, row: Row, task: TaskSettings, split: Published | None) -> Example:
        """Return a picture, known by its pixels."""
        image = row[self._image]
        if task.type == "reconstruction":
            return Example(image.key, image, None, None, 0, split)
        label = row[self._label]
        return Example(image.key, image, None, label, label, split)
