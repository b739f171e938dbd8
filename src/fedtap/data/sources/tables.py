"""The user's own tables: one example a row, in CSV or in JSON lines. Images are paths relative to the table's folder."""

from __future__ import annotations

import csv
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from fedtap.data.example import Example, ImageRef, by_answer, distinct, text_key
from fedtap.data.sources.base import Source, Supports, class_names
from fedtap.pairs import MODALITIES
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import TaskSettings

FIELDS = ("image", "text", "label", "target")


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
    takes: ClassVar[frozenset[str]] = frozenset({"path", "columns", "classes"})
    needs_path: ClassVar[bool] = True

    @abstractmethod
    def rows(self, path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Iterate over (line number, row); every row has the needed columns."""

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
        column = {field: task.columns.get(field, field) for field in needed}
        labels = {name: index for index, name in enumerate(class_names(task))}
        images: dict[Path, ImageRef] = {}
        found: list[Example] = []
        for line, row in self.rows(path, tuple(column.values())):
            place = f"{path}:{line}"
            image, text, target = None, None, None
            if "image" in needed:
                file = path.parent / _text(row[column["image"]], column["image"], place)
                image = images.get(file) or _image(file, place)
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
    """Comma-separated values with a header line, in UTF-8."""

    name = "csv"
    title = "a CSV table"

    def rows(self, path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Iterate over the rows below the header; the line number is that of a row's last line."""
        reader: csv.DictReader[str] | None = None
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                header = reader.fieldnames or []
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
                            "mend the commas, or put quotes around text that holds one"
                        )
                    yield reader.line_num, row
        except csv.Error as error:
            line = reader.line_num + 1 if reader else 1  # where the unreadable row begins
            raise UserError(f"{path}:{line}: not readable as CSV ({error}); mend that line") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not in UTF-8 ({error.reason}); save it in that encoding") from error


class JSONLines(Table):
    """One JSON object a line, in UTF-8; empty lines are skipped."""

    name = "jsonl"
    title = "a table in JSON lines"

    def rows(self, path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Iterate over the objects."""
        with path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                if not raw.strip():
                    continue
                try:
                    row = json.loads(raw.decode("utf-8-sig"))
                except ValueError as error:
                    raise UserError(
                        f"{path}:{line}: not readable as JSON in UTF-8 ({error}); mend that line"
                    ) from error
                if not isinstance(row, dict):
                    raise UserError(f'{path}:{line}: not a JSON object; write {{"{needed[0]}": ...}}')
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
    given = value.strip() if isinstance(value, str) else json.dumps(value)
    if given in labels:
        return labels[given]
    if isinstance(task.classes, int):
        last = task.classes - 1
        raise UserError(f"{place}: label {given!r} is no whole number from 0 to {last}; mend it, or 'classes'")
    raise UserError(f"{place}: unknown label '{given}' ({nearest(given, labels)}); mend it, or add it to 'classes'")


def _image(file: Path, place: str) -> ImageRef:
    if not file.is_file():
        raise UserError(
            f"{place}: image {file} is missing; restore it, or mend the path (relative to the table's folder)"
        )
    return ImageRef.of_file(file)
