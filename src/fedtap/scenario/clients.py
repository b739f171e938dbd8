"""Who takes part: a client and its tasks, as a scenario lists them. Not here: how a listed client becomes many (population)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from fedtap.pairs import CLASSIFIES, Modality, Pair, TaskName
from fedtap.scenario.files import OwnSplit, WindowSettings, in_parts, plain_parts
from fedtap.scenario.settings import MANY, NAME, Float, Many, OnUnreadable, Positive, Settings, Sparing, read_as

OWN_SOURCES = frozenset({"csv", "dataset", "folder", "jsonl", "xlsx"})
"""Sources of a site's own data; the others are public, and all clients that name one draw from it."""


def _size(value: Any) -> Any:
    """Refuse, in one line, what is neither a number of examples nor the word for all."""
    if value is not None and value != "all" and (type(value) is not int or value < 1):
        raise ValueError("must be a whole number above 0, or all")
    return value


Size = Annotated[int | Literal["all"], BeforeValidator(_size)]
"""How many examples of a split; ``all``: whatever there is."""


def _weights(value: Any) -> Any:
    """Refuse, in one line, what is neither the word nor weights by the names of classes."""
    if value in (None, "balanced"):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be balanced, or a weight for each class by its name: {sick: 5, well: 1}")
    for name, weight in value.items():
        if not isinstance(name, str):
            raise ValueError(f"a class is {read_as(name)}, not as text; put quotes around it")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1e6:
            raise ValueError(f"the weight of class '{name}' must be a number above 0, and 1e6 at the most")
    return value


ClassWeights: TypeAlias = Literal["balanced"] | Mapping[str, float]
"""What the loss of a class's examples counts for: ``balanced``, or a weight by class; a class that is not named has 1."""


class TaskSettings(Sparing):
    """One task of a client. ``path``, ``columns`` and ``classes`` belong to the sources of a site's own data.

    ``train``, ``validation`` and ``test`` are how many examples to take, or ``all``, and go before those of the section ``data``.
    ``pictures`` is a folder beside the table's own in which the pictures that a table names may lie.
    ``delimiter`` (one sign) and ``encoding`` are those of a ``csv`` table, where they are not to be found by looking at it;
    ``sheet`` is that of an ``xlsx`` file. ``path`` may name three places, ``{train: ..., validation: ..., test: ...}``, and
    becomes the folder that holds them, with the ``parts`` below it. ``group`` says what keeps examples together in one split: a
    table's column; for a ``folder`` the level of a sub-folder below the class's (``1``), or a pattern of file names
    (``"{group}_*"``). ``range`` and ``window`` are the values of pictures that are shown as black and white. ``on_unreadable``
    is that of ``data`` unless given here. ``class_weights`` is what the loss of a class's examples counts for in training:
    ``balanced`` (all classes of the client alike, however many examples they have), or weights by name. ``separator`` stands
    between several answers, or labels, in one cell of a table; ``references`` are further columns of a table that hold right
    answers. ``scale`` are two numbers between which most of a regression lie: they become -1 and 1 in training, so it is the same
    for all clients that share the task.
    """

    unsaid: ClassVar[frozenset[str]] = frozenset({"separator", "references", "scale"})

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
    class_weights: Annotated[ClassWeights | None, BeforeValidator(_weights)] = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str | None = None
    sheet: Annotated[str, Field(min_length=1)] | None = None
    separator: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    references: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None
    parts: Mapping[OwnSplit, str] | None = None
    group: Positive | Annotated[str, Field(min_length=1, max_length=200)] | None = None
    range: tuple[Float, Float] | None = None
    window: WindowSettings | None = None
    scale: tuple[Float, Float] | None = None
    on_unreadable: OnUnreadable | None = None
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

    @model_validator(mode="before")
    @classmethod
    def _path_in_parts(cls, value: Any) -> Any:
        """Take a ``path`` that names three places as the folder that holds them, and the parts below it."""
        return in_parts(value) if isinstance(value, dict) and isinstance(value.get("path"), dict) else value

    @field_validator("parts")
    @classmethod
    def _parts_lie_below(cls, value: Mapping[OwnSplit, str] | None) -> Mapping[OwnSplit, str] | None:
        return None if value is None else plain_parts(value)

    @field_validator("range", "scale")
    @classmethod
    def _low_before_high(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"[{value[0]:g}, {value[1]:g}] must be the lowest value and a higher one")
        return value

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_text(cls, value: Any) -> Any:
        """Tell what YAML has made of a class's name: ``yes`` and ``off`` are switches to it, and ``1`` is a number."""
        if isinstance(value, int) and value > MANY:
            raise ValueError(f"should be less than or equal to {MANY}, as a number of classes")
        for index, name in enumerate(value if isinstance(value, list | tuple) else ()):
            if not isinstance(name, str):
                told = {"why": f"a class is {read_as(name)}, not as text; put quotes around it", "index": index}
                raise PydanticCustomError("not_text", "{why}", told)
        return value

    @model_validator(mode="after")
    def _reconstruction_sees_images(self) -> TaskSettings:
        if self.type == "reconstruction" and self.modality != "image":
            raise ValueError(f"reconstruction needs modality 'image', not '{self.modality}'")
        return self

    @model_validator(mode="after")
    def _classes_weigh(self) -> TaskSettings:
        if self.class_weights is not None and self.type != "classification":
            raise ValueError(f"'class_weights' is for classification, not for {self.type}; remove it")
        return self

    @model_validator(mode="after")
    def _numbers_have_a_scale(self) -> TaskSettings:
        if self.type == "regression" and self.scale is None:
            raise ValueError(
                "regression needs 'scale': two values between which most of its numbers lie, the same for all clients that share "
                "the task, as in scale: [0, 100]"
            )
        if self.type != "regression" and self.scale is not None:
            raise ValueError(f"'scale' is for regression, not for {self.type}; remove it")
        return self

    @model_validator(mode="after")
    def _several_answers(self) -> TaskSettings:
        several = {"separator": ("text_generation", "multilabel_classification"), "references": ("text_generation",)}
        for key, types in several.items():
            if getattr(self, key) is not None and self.type not in types:
                raise ValueError(f"'{key}' is for {' and '.join(types)}, not for {self.type}; remove it")
        return self

    @model_validator(mode="after")
    def _one_way_to_show(self) -> TaskSettings:
        if self.range is not None and self.window is not None:
            raise ValueError("'range' and 'window' say the same in two ways; give one of them")
        if self.group is not None and "group" in self.columns:
            raise ValueError("'group' and 'columns.group' name the same column; give one of them")
        return self

    @property
    def classifies(self) -> bool:
        """Whether its answers are among classes: one of them, or several."""
        return self.type in CLASSIFIES

    @property
    def means(self) -> tuple[str, str, str]:
        """What tasks agree in that share a head."""
        more = self.classes if self.classifies else self.scale if self.type == "regression" else ""
        return self.type, self.modality, str(more)

    @property
    def limits(self) -> tuple[float, float] | None:
        """The values of pictures that are shown as black and white, where the task says so."""
        return self.window.limits if self.window is not None else self.range

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
