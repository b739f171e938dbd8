"""Rows of a data set of the hub, each value checked as it is read. Pictures are looked at once, and decoded again when used.

What is wrong is told with data set, split and row; rows are counted from 0, as the hub's viewer and ``datasets`` count them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.data.example import ImageRef
from fedtap.data.pixels import look, look_at
from fedtap.data.sources.intake import Intake
from fedtap.runtime.errors import UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BATCH = 512  # rows whose texts and numbers are turned into Python's at once


class Column(ABC):
    """What a column must hold, and how one of its values is read."""

    holds: str
    """In words, for messages."""

    @abstractmethod
    def fits(self, kind: Any) -> bool:
        """Tell whether a ``pyarrow.DataType`` is one that such a column may have."""

    @abstractmethod
    def read(self, value: Any, cell: Cell) -> Any:
        """Return a value as the sources take it; raises UserError if it cannot be used."""

    def values(self, column: Any) -> Iterable[Any]:
        """Return what :meth:`read` is given for each row of a ``pyarrow.ChunkedArray``."""
        found: list[Any] = column.to_pylist()
        return found


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a value is: ``data`` is the split as a ``datasets.Dataset`` in Arrow's format, ``split`` its name for messages."""

    data: Any
    split: str
    index: int
    column: str

    @property
    def row(self) -> str:
        """The row's place, for messages."""
        return f"{self.split}, row {self.index}"

    def __str__(self) -> str:
        return f"{self.row}: '{self.column}'"


@dataclass(frozen=True, slots=True)
class Row:
    """A row's checked values by column, and its place for messages."""

    split: str
    index: int
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """The row's place, for messages."""
        return f"{self.split}, row {self.index}"

    def __getitem__(self, column: str) -> Any:
        return self.values[column]


@dataclass(frozen=True, slots=True)
class Text(Column):
    """Text without the blanks around it; an empty one is refused unless ``needed`` is off."""

    needed: bool = True
    holds = "text"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are strings."""
        return _is_text(kind)

    def read(self, value: Any, cell: Cell) -> str:
        """Return the text."""
        text: str = (value or "").strip()
        if self.needed and not text:
            raise UserError(f"{cell} is empty; fill it, or remove the row")
        return text


@dataclass(frozen=True, slots=True)
class Texts(Column):
    """A list of at least ``least`` texts, which may be empty themselves."""

    least: int = 1
    holds = "lists of texts"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are lists of strings."""
        from pyarrow import types

        return bool(types.is_list(kind) or types.is_large_list(kind)) and _is_text(kind.value_type)

    def read(self, value: Any, cell: Cell) -> tuple[str, ...]:
        """Return the texts."""
        texts = tuple((each or "").strip() for each in value or ())
        if len(texts) < self.least:
            raise UserError(f"{cell} has {len(texts)} entries, not {self.least} or more; mend or remove it")
        return texts


@dataclass(frozen=True, slots=True)
class Label(Column):
    """A class index; the first of ``count`` classes has the number ``first``."""

    count: int
    first: int = 0
    holds = "whole numbers"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are integers."""
        from pyarrow import types

        return bool(types.is_integer(kind))

    def read(self, value: Any, cell: Cell) -> int:
        """Return the class, counted from 0."""
        last = self.first + self.count - 1
        if value is None or not self.first <= value <= last:
            told = "missing" if value is None else value
            raise UserError(f"{cell} is {told}, not {self.first} to {last}; mend it, or remove the row")
        return int(value) - self.first


@dataclass(frozen=True, slots=True)
class Picture(Column):
    """An encoded picture: looked at now, to know it by its pixels, and decoded when it is used."""

    holds = "pictures (the feature Image)"

    def fits(self, kind: Any) -> bool:
        """Tell whether values are what the feature ``Image`` stores: bytes, or the path of a file."""
        from pyarrow import types

        return bool(types.is_struct(kind)) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}

    def values(self, column: Any) -> Iterable[Any]:
        """Return the Arrow scalars: only one picture at a time is copied."""
        scalars: Iterable[Any] = column
        return scalars

    def read(self, value: Any, cell: Cell) -> ImageRef:
        """Return a reference to the picture, by its pixels."""
        content = _content(value)
        if content is not None:
            return look_at(content, str(cell), partial(_decode, cell))
        file = value.as_py() and value["path"].as_py()
        if not file or not Path(file).is_file():
            raise UserError(f"{cell} has no picture; add it, or remove the row")
        return look(Path(file))


def rows(data: Any, columns: Mapping[str, Column], *, place: str, intake: Intake | None = None) -> Iterator[Row]:
    """Iterate over the rows of a split, with these columns; what cannot be read is told to ``intake``, if there is one.

    Raises
    ------
    UserError
        If there are no rows, a column is missing or of another kind, or a value cannot be used.
    """
    check_columns(data, columns, place=place)
    table = data.select_columns(list(columns)).with_format("arrow")
    for start in range(0, len(table), BATCH):
        batch = table[start : start + BATCH]
        try:
            raw = {name: column.values(batch.column(name)) for name, column in columns.items()}
        except UnicodeDecodeError as error:
            end = start + batch.num_rows - 1
            raise UserError(f"{place}, row {start} to {end}: a text is not in UTF-8; save the data set anew") from error
        for offset, values in enumerate(zip(*raw.values(), strict=True)):
            index = start + offset
            try:
                read = {
                    name: column.read(value, Cell(table, place, index, name))
                    for (name, column), value in zip(columns.items(), values, strict=True)
                }
            except UserError as error:
                if intake is None:
                    raise
                intake.unreadable(error)
                continue
            yield Row(place, index, read)


def check_columns(data: Any, columns: Mapping[str, Column], *, place: str) -> None:
    """Refuse a split without rows, without one of these columns, or with one of another kind; no row is read.

    Raises
    ------
    UserError
        See above.
    """
    schema = data.data.schema
    for name, column in columns.items():
        if name not in data.column_names:
            near = nearest(name, data.column_names)
            raise UserError(f"{place}: no column '{name}' ({near}); it needs the columns that it has on the hub")
        kind = schema.field(name).type
        if not column.fits(kind):
            raise UserError(f"{place}: column '{name}' holds {kind}; it needs {column.holds}, as on the hub")
    if len(data) == 0:
        raise UserError(f"{place}: no rows in it; give one that has some")


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _content(value: Any) -> bytes | None:
    """Return the encoded picture of an Arrow scalar of the feature ``Image``, or None."""
    if not value.is_valid or not value["bytes"].is_valid:
        return None
    content: bytes = value["bytes"].as_py()
    return content


def _decode(cell: Cell) -> npt.NDArray[np.uint8]:
    from fedtap.data.images import decode_image  # Pillow is loaded by the first picture

    stored = cell.data[cell.index : cell.index + 1].column(cell.column)[0]
    return decode_image(_content(stored) or b"", str(cell))
