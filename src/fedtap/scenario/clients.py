"""Who takes part: a client and its tasks, as a scenario lists them. Not here: how a listed client becomes many (population)."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fedtap.pairs import Modality, Pair, TaskName
from fedtap.scenario.settings import MANY, NAME, Many, Settings

OWN_SOURCES = frozenset({"csv", "folder", "jsonl"})
"""Sources of a site's own data; the others are public, and all clients that name one draw from it."""


def _size(value: Any) -> Any:
    """Refuse, in one line, what is neither a number of examples nor the word for all."""
    if value is not None and value != "all" and (type(value) is not int or value < 1):
        raise ValueError("must be a whole number above 0, or all")
    return value


Size = Annotated[int | Literal["all"], BeforeValidator(_size)]
"""How many examples of a split; ``all``: whatever there is."""


class TaskSettings(Settings):
    """One task of a client. ``path``, ``columns`` and ``classes`` belong to the sources ``folder``, ``csv`` and ``jsonl``.

    ``train``, ``validation`` and ``test`` are how many examples to take, or ``all``, and go before those of the section ``data``.
    ``pictures`` is a folder beside the table's own in which the pictures that a table names may lie.
    ``delimiter`` (one sign) and ``encoding`` are those of a ``csv`` table, where they are not to be found by looking at it.
    """

    name: str
    type: TaskName
    modality: Modality
    domain: str
    source: str
    head: str | None = None
    path: str | None = None
    pictures: str | None = None
    columns: Mapping[str, str] = {}
    classes: tuple[str, ...] | Many | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str | None = None
    train: Size | None = None
    validation: Size | None = None
    test: Size | None = None

    @field_validator("name", "domain", "head")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not NAME.fullmatch(value):
            raise ValueError(
                f"'{value}' must be letters, digits, '_', '-' or '.', at most 64, so that it can name a file"
            )
        return value

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_text(cls, value: Any) -> Any:
        """Tell what YAML has made of a class's name: ``yes`` and ``off`` are switches to it, and ``1`` is a number."""
        if isinstance(value, int) and value > MANY:
            raise ValueError(f"should be less than or equal to {MANY}, as a number of classes")
        for name in value if isinstance(value, list | tuple) else ():
            if not isinstance(name, str):
                raise ValueError(
                    f"a class is read as {json.dumps(name, default=str)}, not as text; put quotes around it"
                )
        return value

    @model_validator(mode="after")
    def _reconstruction_sees_images(self) -> TaskSettings:
        if self.type == "reconstruction" and self.modality != "image":
            raise ValueError(f"reconstruction needs modality 'image', not '{self.modality}'")
        return self

    @property
    def own(self) -> bool:
        """Whether its data are a site's own, of which all are taken as they are unless somebody says otherwise."""
        return self.source in OWN_SOURCES

    @property
    def pair(self) -> Pair:
        """The pair that this task makes."""
        return Pair(self.name, self.type, self.modality, self.domain, self.head or self.name)


class ClientSettings(Settings):
    """A client. ``count`` makes that many alike (ids ``id-000`` ...); ``unseen`` holds it out of training."""

    id: str
    tasks: tuple[TaskSettings, ...]
    count: Many = 1
    unseen: bool = False

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"'{value}' must be letters, digits, '_', '-' or '.', at most 64, since it names a folder")
        return value

    @field_validator("tasks")
    @classmethod
    def _distinct_tasks(cls, value: tuple[TaskSettings, ...]) -> tuple[TaskSettings, ...]:
        if not value:
            raise ValueError("a client needs at least one task")
        twice = [name for name, number in Counter(task.name for task in value).items() if number > 1]
        if twice:
            raise ValueError(f"task '{twice[0]}' is listed twice; a client lists a task once")
        return value

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The client's pairs, in the order of its tasks."""
        return tuple(task.pair for task in self.tasks)


def require_distinct(clients: Iterable[ClientSettings]) -> None:
    """Refuse ids that name one folder: to many file systems Ward and ward, or two forms of one letter, are one.

    Raises
    ------
    ValueError
        If two ids are equal, or differ in case or Unicode form alone.
    """
    known: dict[str, str] = {}
    for client in clients:
        form = unicodedata.normalize("NFC", unicodedata.normalize("NFC", client.id).casefold())
        if form in known and known[form] == client.id:
            raise ValueError(f"client id '{client.id}' is used twice; ids must differ")
        if form in known:
            raise ValueError(
                f"client ids '{known[form]}' and '{client.id}' differ in case or Unicode form alone; give one another name"
            )
        known[form] = client.id
