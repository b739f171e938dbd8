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
from typing import Any, ClassVar

from fedtap.data.example import Example, ImageRef, by_answer, distinct, text_key
from fedtap.data.sources.base import Source, Supports, class_names, composed
from fedtap.pairs import MODALITIES
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import TaskSettings

FIELDS = ("image", "text", "label", "target")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between values, in the order in which it is tried."""
csv.field_size_limit(
    2**27
)  # a text of any length that fits a model; Python's own limit is 131,072 signs, for all of the process


class Table(Source):
    """A table with the columns that the task needs among ``image``, ``text``, ``label`` and ``target``.

    ``columns`` maps these to other column names.
    """

    licence = "the owner's"
    supports: Supports = frozenset(
        {("classification", modality) for modality in MODALITIES}
        | {("text_generation", modality) for modality in MODALITIES}
        | {("reconstruction", "image")}
    )
    takes: ClassVar[frozenset[str]] = frozenset({"path", "columns", "classes", "pictures"})
    needs_path: ClassVar[bool] = True

    @abstractmethod
    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Iterate over (line number, row); every row has the needed columns, by their composed names."""

    def check(self, task: TaskSettings) -> None:
        """Check, besides what every source checks, that ``columns`` names known fields."""
        super().check(task)
        for key in task.columns:
            if key not in FIELDS:
                raise UserError(
                    f"task '{task.name}', source '{self.name}': unknown key '{key}' in 'columns'; {nearest(key, FIELDS)}"
                )

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the classes that the task names."""
        return class_names(task)

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a row, in the order of the table; image files are hashed, not decoded."""
        path = folder / (task.path or "")
        try:
            path.open("rb").close()
        except OSError as error:
            reason = f"{error.strerror}; task '{task.name}'"
            raise UserError(f"{path}: the table cannot be read ({reason}); create it, or mend 'path'") from error
        needed = _fields(task)
        column = {field: composed(task.columns.get(field, field)) for field in needed}
        labels = {name: index for index, name in enumerate(class_names(task))}
        images: dict[Path, ImageRef] = {}
        allowed = [each.resolve() for each in (path.parent, *([folder / task.pictures] if task.pictures else []))]
        found: list[Example] = []
        for line, row in self.rows(path, tuple(column.values()), task):
            place = f"{path}:{line}"
            image, text, target = None, None, None
            if "image" in needed:
                file = path.parent / _text(row[column["image"]], column["image"], place)
                image = images.get(file) or _image(file, place, allowed)
                images[file] = image
            if "text" in needed:
                text = _text(row[column["text"]], column["text"], place)
            if "target" in needed:
                target = _text(row[column["target"]], column["target"], place)
            label = _label(row[column["label"]], labels, task, place) if "label" in needed else None
            key = image.digest if image else text_key(text or "")
            found.append(Example(key, image, text, target if label is None else label, label or 0))
        if not found:
            raise UserError(f"{path}: no examples in it; add rows, or mend 'path'")
        by_content = distinct(found)
        return by_answer(by_content) if task.type == "text_generation" and task.modality == "image+text" else by_content


class CSV(Table):
    """Values separated by commas, semicolons, tabs or bars, with a header line.

    ``encoding`` is UTF-8, or UTF-16 where the file begins with its mark; another one is named in the task, since a guess may be
    wrong without anybody noticing. ``delimiter`` is found by the header: the one that gives it the columns that are needed.
    """

    name = "csv"
    title = "a CSV table"
    takes: ClassVar[frozenset[str]] = Table.takes | {"delimiter", "encoding"}

    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Iterate over the rows below the header; the line number is that of a row's last line."""
        encoding = task.encoding or _encoding(path)
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
                        raise UserError(
                            f"{path}:{reader.line_num}: not {len(header)} fields as in the header; "
                            f"mend the {DELIMITERS.get(delimiter, 'delimiters')}, or put quotes around text that holds one"
                        )
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


def _encoding(path: Path) -> str:
    """Return UTF-16 for a file that begins with its mark, and otherwise UTF-8, with or without a mark."""
    with path.open("rb") as file:
        start = file.read(2)
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

    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Iterate over the objects."""
        with path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                if not raw.strip():
                    continue
                try:
                    row = json.loads(raw.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    raise UserError(
                        f"{path}:{line}: not readable as JSON in UTF-8 ({error}); mend that line"
                    ) from error
                if not isinstance(row, dict):
                    raise UserError(f'{path}:{line}: not a JSON object; write {{"{needed[0]}": ...}}')
                row = {composed(name): value for name, value in row.items()}
                for name in needed:
                    if name not in row:
                        near = nearest(name, row) if row else "the object is empty"
                        raise UserError(f"{path}:{line}: no key '{name}' ({near}); add it, or map it in 'columns'")
                yield line, row


def _fields(task: TaskSettings) -> tuple[str, ...]:
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


def _label(value: object, labels: Mapping[str, int], task: TaskSettings, place: str) -> int:
    """Return the class index of a label, given by name, or as a number where the classes are a number."""
    given = composed(value.strip()) if isinstance(value, str) else json.dumps(value)
    if given in labels:
        return labels[given]
    if isinstance(task.classes, int):
        last = task.classes - 1
        raise UserError(f"{place}: label {given!r} is no whole number from 0 to {last}; mend it, or 'classes'")
    raise UserError(f"{place}: unknown label '{given}' ({nearest(given, labels)}); mend it, or add it to 'classes'")


def _image(file: Path, place: str, allowed: Sequence[Path]) -> ImageRef:
    """Return the picture that a table names; what a table says is data, and may not choose what on this machine is read."""
    real = file.resolve()
    if not any(real.is_relative_to(each) for each in allowed):
        raise UserError(
            f"{place}: image {file} lies outside of the table's folder; put it there, or allow its folder by name (pictures: "
            "FOLDER in the task)"
        )
    for form in (str, composed, partial(unicodedata.normalize, "NFD")):  # file systems differ in how they keep accents
        if (named := file.with_name(form(file.name))).is_file():
            return ImageRef.of_file(named)
    if not file.is_file():
        raise UserError(
            f"{place}: image {file} is missing; restore it, or mend the path (relative to the table's folder)"
        )
    return ImageRef.of_file(file)
