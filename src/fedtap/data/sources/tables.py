"""The user's own tables: one example a row, in CSV or in JSON lines. Images are paths from the table's folder, and in it."""

from __future__ import annotations

import codecs
import csv
import json
import unicodedata
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from fedtap.data.example import Example, ImageRef, Published, text_key
from fedtap.data.pixels import look
from fedtap.data.sources.base import Supports, class_names, composed
from fedtap.data.sources.intake import Intake
from fedtap.data.sources.own import KEYS, OwnSource, published_as
from fedtap.pairs import MODALITIES
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.files import OwnSplit, split_word
from fedtap.scenario.scenario import TaskSettings

FIELDS = ("image", "text", "label", "target", "split", "group")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between values, in the order in which it is tried."""
csv.field_size_limit(
    2**27
)  # a text of any length that fits a model; Python's own limit is 131,072 signs, for all of the process
Row: TypeAlias = "Mapping[str, Any] | UserError"
"""A row's values by column, or why it cannot be read."""


class Table(OwnSource):
    """A table with the columns that the task needs among ``image``, ``text``, ``label`` and ``target``.

    A column ``split`` puts rows into train, validation and test, and rows of one ``group`` stay together; neither need be there.
    ``columns`` maps all of these to other column names.
    """

    supports: Supports = frozenset(
        {("classification", modality) for modality in MODALITIES}
        | {("text_generation", modality) for modality in MODALITIES}
        | {("reconstruction", "image")}
    )
    takes: ClassVar[frozenset[str]] = KEYS | {"columns", "pictures"}

    @abstractmethod
    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Row]]:
        """Iterate over (line number, row); every row has the needed columns, by their composed names."""

    def check(self, task: TaskSettings) -> None:
        """Check, besides what every source checks, that ``columns`` names known fields, and ``group`` a column."""
        super().check(task)
        place = f"task '{task.name}', source '{self.name}'"
        check_columns(task, place)
        if task.parts is not None and "split" in task.columns:
            raise UserError(f"{place}: 'path' has a part for each split, and 'columns' a split; give one of them")

    def rows_of(self, task: TaskSettings, place: Path, split: OwnSplit | None, intake: Intake) -> Iterator[Example]:
        """Iterate over the rows, in the order of the table."""
        try:
            place.open("rb").close()
        except OSError as error:
            reason = f"{error.strerror}; task '{task.name}'"
            raise UserError(f"{place}: the table cannot be read ({reason}); create it, or mend 'path'") from error
        reader = _Reader(task, place, split)
        rows = list(self.rows(place, reader.needed, task))
        reader.look_for_own_columns(rows)
        for line, row in intake.watch(rows) if "image" in reader.needed_fields else rows:
            try:
                if isinstance(row, UserError):
                    raise row
                yield reader.example(row, f"{place}:{line}")
            except _SlipError as error:
                intake.fault(error)
            except UserError as error:
                intake.unreadable(error)
        if reader.found_by_name:
            intake.remark(f"{place}: {reader.found_by_name}")


def check_columns(task: TaskSettings, place: str) -> None:
    """Check that ``columns`` names known fields, and ``group`` a column."""
    for key in task.columns:
        if key not in FIELDS:
            raise UserError(f"{place}: unknown key '{key}' in 'columns'; {nearest(key, FIELDS)}")
    if isinstance(task.group, int):
        raise UserError(f"{place}: 'group' is {task.group}; give the name of a column, in quotes if it is a number")


class _SlipError(UserError):
    """A label that is no class, a split that is none, a picture of elsewhere: a slip in table or scenario, and no damage."""


class _Reader:
    """Makes examples of rows."""

    def __init__(self, task: TaskSettings, table: Path, split: OwnSplit | None) -> None:
        self._task = task
        self._table = table
        self._split: Published | None = None if split is None else published_as(split)
        self._labels = {name: index for index, name in enumerate(class_names(task))}
        self._images: dict[Path, ImageRef | UserError] = {}
        folders = (table.parent, *([Path(task.pictures)] if task.pictures else []))
        self._allowed = [each.resolve() for each in folders]
        self.needed_fields = fields_of(task)
        columns = {**task.columns, **({"group": str(task.group)} if task.group is not None else {})}
        self._column = {field: composed(columns.get(field, field)) for field in (*self.needed_fields, "split", "group")}
        self._own: list[str] = [field for field in ("split", "group") if field in columns]
        self._may = [
            field for field in ("split", "group") if field not in columns and (field, split is None) != ("split", False)
        ]
        self.needed = tuple(self._column[field] for field in (*self.needed_fields, *self._own))
        self.found_by_name = ""

    def look_for_own_columns(self, rows: list[tuple[int, Row]]) -> None:
        """Take up columns called ``split`` and ``group`` where the table has them."""
        taken = set(self.needed)
        for field in self._may:
            if field not in taken and any(field in row for _, row in rows if not isinstance(row, UserError)):
                self._own.append(field)
        told = [each for each in self._own if each in self._may]
        if told:
            many, verb = ("s", "decide") if len(told) > 1 else ("", "decides")
            self.found_by_name = (
                f"its column{many} {' and '.join(map(repr, told))} {verb} what is trained and what is tested on; if that is not "
                "meant, call it another name"
            )

    def example(self, row: Mapping[str, Any], place: str) -> Example:
        """Return the example of a row; raises :class:`UserError` if it cannot be read."""
        given = {field: row.get(column) for field, column in self._column.items()}
        image, text, target = None, None, None
        if "image" in self.needed_fields:
            image = self._image(self._table.parent / _text(given["image"], self._column["image"], place), place)
        if "text" in self.needed_fields:
            text = _text(given["text"], self._column["text"], place)
        if "target" in self.needed_fields:
            target = _text(given["target"], self._column["target"], place)
        label = label_of(given["label"], self._labels, self._task, place) if "label" in self.needed_fields else None
        group = composed(_name(given["group"], self._column["group"], place)) if "group" in self._own else None
        split = self._split
        if "split" in self._own:
            split = _split(_name(given["split"], self._column["split"], place), self._column["split"], place)
        key = image.key if image else text_key(text or "")
        return Example(key, image, text, target if label is None else label, label or 0, split, group)

    def _image(self, file: Path, place: str) -> ImageRef:
        if file not in self._images:
            try:
                self._images[file] = look(image_file(file, place, self._allowed), self._task.limits)
            except UserError as error:
                self._images[file] = error
        image = self._images[file]
        if isinstance(image, UserError):
            raise image
        return image


class CSV(Table):
    """Values separated by commas, semicolons, tabs or bars, with a header line.

    ``encoding`` is UTF-8, or UTF-16 where the file begins with its mark; another one is named in the task, since a guess may be
    wrong without anybody noticing. ``delimiter`` is found by the header: the one that gives it the columns that are needed.
    """

    name = "csv"
    title = "a CSV table"
    takes: ClassVar[frozenset[str]] = Table.takes | {"delimiter", "encoding"}

    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Row]]:
        """Iterate over the rows below the header; the line number is that of a row's last line."""
        encoding = task.encoding or csv_encoding(path)
        reader: csv.DictReader[str] | None = None
        try:
            delimiter = task.delimiter or _delimiter(path, encoding, needed)
            with path.open(encoding=encoding, newline="") as file:
                reader = csv.DictReader(file, strict=True, delimiter=delimiter)
                header = reader.fieldnames = [composed(name) for name in reader.fieldnames or ()]
                for name in needed:
                    if header.count(name) > 1:
                        raise UserError(f"{path}:1: column '{name}' is there twice; rename one")
                    if name not in header:
                        near = nearest(name, header) if header else "the file is empty"
                        raise UserError(
                            f"{path}:1: no column '{name}' ({near}); mend the header, or map it in 'columns'"
                        )
                for row in reader:
                    if None in row or None in row.values():
                        yield (
                            reader.line_num,
                            UserError(
                                f"{path}:{reader.line_num}: not {len(header)} fields as in the header; "
                                f"mend the {DELIMITERS.get(delimiter, 'delimiters')}, or put quotes around text that holds one"
                            ),
                        )
                    else:
                        yield reader.line_num, row
        except csv.Error as error:
            line = reader.line_num + 1 if reader else 1  # where the unreadable row begins
            raise UserError(f"{path}:{line}: not readable as CSV ({error}); mend that line") from error
        except (UnicodeError, LookupError) as error:
            if isinstance(error, LookupError) and not isinstance(error, UnicodeError):
                raise UserError(f"task '{task.name}': no encoding '{encoding}'; name one such as cp1252") from error
            shown = {"utf-8-sig": "UTF-8"}.get(encoding, encoding)
            raise UserError(
                f"{path}: not in {shown} ({getattr(error, 'reason', error)}); save it in that encoding, or name its own in the "
                "task (encoding: cp1252 for most of Excel's in the West)"
            ) from error


def csv_encoding(path: Path) -> str:
    """Return UTF-16 for a file that begins with its mark, and otherwise UTF-8, with or without a mark."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04" or start == b"\xd0\xcf\x11\xe0":
        raise UserError(f"{path}: is a spreadsheet or archive, no CSV; take source: xlsx, or save it as CSV")
    start = start[:2]
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _delimiter(path: Path, encoding: str, needed: tuple[str, ...]) -> str:
    """Return the delimiter that makes the needed columns of the header; a comma where none does."""
    with path.open(encoding=encoding, newline="") as file:
        for delimiter in DELIMITERS:
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
            if {composed(name) for name in header} >= set(needed):
                return delimiter
    return ","


class JSONLines(Table):
    """One JSON object a line, in UTF-8; empty lines are skipped."""

    name = "jsonl"
    title = "a table in JSON lines"

    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Row]]:
        """Iterate over the objects."""
        with path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                if not raw.strip():
                    continue
                yield line, _object(raw, needed, f"{path}:{line}")


def _object(raw: bytes, needed: tuple[str, ...], place: str) -> Row:
    try:
        row = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return UserError(f"{place}: not readable as JSON in UTF-8 ({error}); mend that line")
    if not isinstance(row, dict):
        return UserError(f'{place}: not a JSON object; write {{"{next(iter(needed), "text")}": ...}}')
    row = {composed(name): value for name, value in row.items()}
    for name in needed:
        if name not in row:
            near = nearest(name, row) if row else "the object is empty"
            return UserError(f"{place}: no key '{name}' ({near}); add it, or map it in 'columns'")
    return row


def fields_of(task: TaskSettings) -> tuple[str, ...]:
    """Return the fields that a task reads."""
    target = {"classification": ("label",), "text_generation": ("target",), "reconstruction": ()}[task.type]
    return (*task.pair.parts, *target)


def _text(value: object, column: str, place: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{place}: '{column}' is {json.dumps(value)}; it must be text in quotes")
    if not value.strip():
        raise UserError(f"{place}: '{column}' is empty; fill it, or remove the row")
    if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{place}: '{column}' holds half a character (a lone surrogate); mend the escape sequence")
    return value.strip()


def _name(value: object, column: str, place: str) -> str:
    """Return what names a group or a split: text, or a number as text."""
    return _text(str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value, column, place)


def _split(word: str, column: str, place: str) -> Published:
    split = split_word(word)
    if split is None:
        raise _SlipError(
            f"{place}: '{column}' is '{word}', which is no split; write train, validation or test, or rename the column if it "
            "means another thing"
        )
    return published_as(split)


def label_of(value: object, labels: Mapping[str, int], task: TaskSettings, place: str) -> int:
    """Return the class index of a label, given by name, or as a number where the classes are a number."""
    given = composed(value.strip()) if isinstance(value, str) else json.dumps(value)
    if value is None or not given:
        raise UserError(f"{place}: the label is empty; fill it, or remove the row")
    if given in labels:
        return labels[given]
    if isinstance(task.classes, int):
        last = task.classes - 1
        raise _SlipError(f"{place}: label {given!r} is no whole number from 0 to {last}; mend it, or 'classes'")
    raise _SlipError(f"{place}: unknown label '{given}' ({nearest(given, labels)}); mend it, or add it to 'classes'")


def image_file(file: Path, place: str, allowed: Sequence[Path]) -> Path:
    """Return the file of a picture that a table names; what a table says is data, and may not choose what here is read."""
    real = file.resolve()
    if not any(real.is_relative_to(each) for each in allowed):
        raise _SlipError(
            f"{place}: image {file} lies outside of the table's folder; put it there, or allow its folder by name (pictures: "
            "FOLDER in the task)"
        )
    # File systems differ in how they keep accents.
    for form in (str, composed, partial(unicodedata.normalize, "NFD")) if file.name else ():
        if (named := file.with_name(form(file.name))).is_file():
            return named
    raise UserError(f"{place}: image {file} is missing; restore it, or mend the path (relative to the table's folder)")
