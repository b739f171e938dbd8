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
from fedtap.data.sources.cells import SlipError, answers, label_of, labels_of, name_of, number_of, text_of
from fedtap.data.sources.intake import Intake
from fedtap.data.sources.own import KEYS, OwnSource, published_as
from fedtap.pairs import MODALITIES, TaskName
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.files import OwnSplit, split_word
from fedtap.scenario.scenario import TaskSettings

ANY_INPUT: tuple[TaskName, ...] = (
    "classification",
    "multilabel_classification",
    "regression",
    "text_generation",
)
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
    ``columns`` maps all of these to other column names. ``target`` may hold several right answers: a list in JSON lines, or texts
    between which the ``separator`` stands; and so may further columns, the ``references``.
    """

    supports: Supports = frozenset(
        {(type, modality) for type in ANY_INPUT for modality in MODALITIES} | {("reconstruction", "image")}
    )
    takes: ClassVar[frozenset[str]] = KEYS | {"columns", "pictures", "separator", "references"}

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
            except SlipError as error:
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
        self._references = tuple(composed(name) for name in task.references or ())
        self.needed = (*(self._column[field] for field in (*self.needed_fields, *self._own)), *self._references)
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
        image, text = None, None
        target: int | float | str | tuple[int, ...] | None = None
        if "image" in self.needed_fields:
            image = self._image(self._table.parent / text_of(given["image"], self._column["image"], place), place)
        if "text" in self.needed_fields:
            text = text_of(given["text"], self._column["text"], place)
        also: tuple[str, ...] = ()
        stratum = 0
        if self._task.type == "regression":
            target = number_of(given["target"], self._column["target"], self._task, place)
        elif "target" in self.needed_fields:
            beside = [(name, row.get(name)) for name in self._references]
            target, *others = answers((self._column["target"], given["target"]), beside, self._task.separator, place)
            also = tuple(others)
        if self._task.type == "multilabel_classification":
            target = labels_of(given["label"], self._column["label"], self._labels, self._task, place)
        elif "label" in self.needed_fields:
            target = stratum = label_of(given["label"], self._labels, self._task, place)
        group = composed(name_of(given["group"], self._column["group"], place)) if "group" in self._own else None
        split = self._split
        if "split" in self._own:
            split = _split(name_of(given["split"], self._column["split"], place), self._column["split"], place)
        key = image.key if image else text_key(text or "")
        return Example(key, image, text, target, stratum, split, group, also)

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
    target = () if task.type == "reconstruction" else ("label",) if task.classifies else ("target",)
    return (*task.pair.parts, *target)


def _split(word: str, column: str, place: str) -> Published:
    split = split_word(word)
    if split is None:
        raise SlipError(
            f"{place}: '{column}' is '{word}', which is no split; write train, validation or test, or rename the column if it "
            "means another thing"
        )
    return published_as(split)


def image_file(file: Path, place: str, allowed: Sequence[Path]) -> Path:
    """Return the file of a picture that a table names; what a table says is data, and may not choose what here is read."""
    real = file.resolve()
    if not any(real.is_relative_to(each) for each in allowed):
        raise SlipError(
            f"{place}: image {file} lies outside of the table's folder; put it there, or allow its folder by name (pictures: "
            "FOLDER in the task)"
        )
    # File systems differ in how they keep accents.
    for form in (str, composed, partial(unicodedata.normalize, "NFD")) if file.name else ():
        if (named := file.with_name(form(file.name))).is_file():
            return named
    raise UserError(f"{place}: image {file} is missing; restore it, or mend the path (relative to the table's folder)")
