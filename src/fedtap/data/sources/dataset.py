"""The user's own data sets: a folder that ``datasets`` has written (``save_to_disk``), an example a row. Not the hub's (hub/)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fedtap.data.example import Example, text_key
from fedtap.data.sources.base import Supports, class_names, composed
from fedtap.data.sources.cells import label_of, labels_of, number_of, texts_of
from fedtap.data.sources.hub.load import from_folder
from fedtap.data.sources.hub.rows import Cell, Column, Picture, Row, Text, Texts, rows
from fedtap.data.sources.intake import Intake
from fedtap.data.sources.own import OwnSource, published_as
from fedtap.data.sources.tables import Table, check_columns, fields_of
from fedtap.runtime.errors import UserError
from fedtap.scenario.files import OwnSplit, split_word
from fedtap.scenario.scenario import TaskSettings


class SavedDataset(OwnSource):
    """A ``Dataset`` or ``DatasetDict`` on disk, with the columns that a table would have; pictures have the feature ``Image``.

    Splits of a ``DatasetDict`` that are called train, validation and test are kept. Labels are numbers with names
    (``ClassLabel``), or names.
    """

    name = "dataset"
    title = "a data set on disk"
    supports: Supports = Table.supports
    takes: ClassVar[frozenset[str]] = frozenset(
        {"path", "columns", "classes", "group", "on_unreadable", "separator", "references"}
    )

    def check(self, task: TaskSettings) -> None:
        """Check, besides what every source checks, that ``columns`` names known fields, and ``group`` a column."""
        super().check(task)
        check_columns(task, f"task '{task.name}', source '{self.name}'")

    def rows_of(self, task: TaskSettings, place: Path, split: OwnSplit | None, intake: Intake) -> Iterator[Example]:
        """Iterate over the rows of all splits that count."""
        labels = {name: index for index, name in enumerate(class_names(task))}
        data = from_folder(place, place=f"task '{task.name}', source '{self.name}'")
        for name, part in data.items():
            own = split_word(name) if len(data) > 1 else None
            if own is None and len(data) > 1:
                intake.remark(f"{place}: its split '{name}' is none of train, validation and test, and is not taken")
                continue
            for row in rows(part, _columns(task, part), place=f"{place}, split '{name}'", intake=intake):
                try:
                    yield _example(row, task, labels, own)
                except UserError as error:
                    intake.fault(error)


def _columns(task: TaskSettings, part: Any) -> Mapping[str, Column]:
    """Return the columns that a task needs, under the names that the data set has for them."""
    kinds: dict[str, Column] = {"image": Picture(), "text": Text(), "target": _Answers(task.separator)}
    if task.type == "regression":
        kinds["target"] = _Number(task)
    found = {_name(task, field): kinds[field] for field in fields_of(task) if field in kinds}
    found |= {name: _Answers(task.separator, needed=False) for name in task.references or ()}
    for field in ("label", "group"):
        if field in fields_of(task) or (field == "group" and _group(task) is not None):
            column = str(_group(task)) if field == "group" else _name(task, field)
            kind = part.features.get(column)
            if field == "label" and task.type == "multilabel_classification":
                found[column] = _Words(_Word(_names(getattr(kind, "feature", kind))))
            else:
                found[column] = _Word(_names(kind))
    return found


def _names(kind: Any) -> tuple[str, ...]:
    """Return the names that a feature has for its numbers, if it has any."""
    return tuple(getattr(kind, "names", None) or ())


def _name(task: TaskSettings, field: str) -> str:
    return task.columns.get(field, field)


def _group(task: TaskSettings) -> str | None:
    return task.columns.get("group") or (None if task.group is None else str(task.group))


def _example(row: Row, task: TaskSettings, labels: Mapping[str, int], split: OwnSplit | None) -> Example:
    given = {field: row[_name(task, field)] for field in fields_of(task)}
    image, text = given.get("image"), given.get("text")
    answer: int | float | str | tuple[int, ...] | None = None
    also: list[str] = []
    stratum = 0
    if task.type == "regression":
        answer = given["target"]
    elif task.type == "text_generation":
        beside = (text for name in task.references or () for text in row[name])
        answer, *also = dict.fromkeys((*given["target"], *beside))
    elif task.type == "multilabel_classification":
        answer = labels_of(given["label"], _name(task, "label"), labels, task, row.place)
    elif "label" in given:
        answer = stratum = label_of(given["label"], labels, task, row.place)
    group = _group(task)
    return Example(
        image.key if image else text_key(text or ""),
        image,
        text,
        answer,
        stratum,
        None if split is None else published_as(split),
        None if group is None else row[group],
        tuple(also),
    )


@dataclass(frozen=True, slots=True)
class _Answers(Column):
    """A text, texts between which a separator stands, or a list of texts; none at all unless they are needed."""

    separator: str | None = None
    needed: bool = True
    holds = "text, or lists of texts"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are strings, or lists of strings."""
        return Text().fits(kind) or Texts().fits(kind)

    def read(self, value: Any, cell: Cell) -> tuple[str, ...]:
        """Return the texts."""
        return tuple(texts_of(value or "", cell.column, self.separator, cell.row, needed=self.needed))


@dataclass(frozen=True, slots=True)
class _Number(Column):
    """A number, or a text that is one."""

    task: TaskSettings
    holds = "numbers"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are numbers, or strings."""
        from pyarrow import types

        return bool(types.is_integer(kind) or types.is_floating(kind)) or Text().fits(kind)

    def read(self, value: Any, cell: Cell) -> float:
        """Return the number, in the user's unit."""
        return number_of(value, cell.column, self.task, cell.row)


@dataclass(frozen=True, slots=True)
class _Word(Column):
    """A word, a number, or the number of one of ``names``."""

    names: tuple[str, ...] = ()
    holds = "names or whole numbers"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are strings, integers or switches."""
        from pyarrow import types

        return bool(
            types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind)
        )

    def read(self, value: Any, cell: Cell) -> str:
        """Return the word, as a table would have it."""
        if value is None or value == "":
            raise UserError(f"{cell} is empty; fill it, or remove the row")
        if not self.names:
            return composed(value.strip()) if isinstance(value, str) else json.dumps(value)
        if not 0 <= value < len(self.names):
            raise UserError(
                f"{cell} is {value}, and its names end at {len(self.names) - 1}; mend it, or remove the row"
            )
        return composed(self.names[value])


@dataclass(frozen=True, slots=True)
class _Words(Column):
    """A list of words, each of one kind, or a single one."""

    each: _Word
    holds = "lists of names or whole numbers"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are such lists, or single ones."""
        from pyarrow import types

        return self.each.fits(kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind)

    def read(self, value: Any, cell: Cell) -> Any:
        """Return the words, as a table would have them."""
        if isinstance(value, list):
            return [self.each.read(word, cell) for word in value]
        return "" if value == "" else self.each.read(value, cell)
