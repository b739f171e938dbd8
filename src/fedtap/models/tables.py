"""Many examples from a file or a folder, and their answers to a file: both as streams. Not here: what the model makes of them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from PIL import Image

from fedtap.data.sources.tables import CSV, JSONLines, Table, image_file
from fedtap.models.given import Example, Inputs, columns_of, inputs_of, pictures_in
from fedtap.models.personal_model import PersonalModel
from fedtap.models.saved_model import ModelTask
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import raise_full
from fedtap.scenario.scenario import TaskSettings

TABLES: Mapping[str, type[Table]] = {".csv": CSV, ".jsonl": JSONLines}
ANSWERS = ("prediction", "probability", "probabilities", "error")
CSV_ANSWERS = tuple(name for name in ANSWERS if name != "probabilities")
"""The columns that an answer has, in JSON lines and in a CSV table."""
LABELS = "; "
"""What stands between several labels in a CSV table."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be answered: its columns, and what the model is given of it, or why it cannot be read."""

    columns: Mapping[str, Any]
    inputs: Inputs | None
    fault: UserError | None = None


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads the examples of a task from a CSV table, JSON lines, or a folder of pictures.

    Parameters
    ----------
    task
        What the examples are for. Columns are named as in the tables that the model was trained on, or ``image`` and ``text``.
    source
        The file or folder.
    pictures
        A folder beside the table's own in which the pictures that it names may lie.
    """

    task: ModelTask
    source: Path
    pictures: Path | None = None

    def check(self) -> None:
        """Raise UserError if it is neither a table nor a folder of pictures, or ``pictures`` is given for a folder."""
        if self.source.is_dir():
            pictures_in(self.task, self.source)
            if self.pictures is not None:
                raise UserError(f"--pictures {self.pictures}: is for tables that name pictures; leave it out")
            return
        if not self.source.exists():
            raise UserError(f"--input {self.source}: no such file; give a .csv, a .jsonl, or a folder of pictures")
        if self.source.suffix.lower() not in TABLES:
            raise UserError(f"--input {self.source}: give a file that ends in .csv or .jsonl, or a folder of pictures")
        if self.pictures is not None and not self.pictures.is_dir():
            raise UserError(f"--pictures {self.pictures}: no such folder")

    def about(self) -> int:
        """Return how many rows there are: of a table its lines, of which the header is one and a text may have several."""
        if self.source.is_dir():
            return len(pictures_in(self.task, self.source))
        with self.source.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))

    def rows(self) -> Iterator[Row]:
        """Iterate over the rows, in order; each picture is decoded when its row is due.

        Raises
        ------
        UserError
            If the table as a whole cannot be read.
        """
        if self.source.is_dir():
            for path in pictures_in(self.task, self.source):
                name = path.relative_to(self.source).as_posix()
                yield self._row({"image": name}, lambda path=path: Example(image=path), str(path))
            return
        table = TABLES[self.source.suffix.lower()]()
        folders = [folder.resolve() for folder in (self.source.parent, self.pictures) if folder is not None]
        for line, found in table.rows(self.source, self._needed(table), self._as_task(table.name)):
            place = f"{self.source}:{line}"
            if isinstance(found, UserError):
                yield Row({}, None, found)
            else:
                _check_free(found, self.source)
                yield self._row(found, lambda found=found, place=place: self._example(found, place, folders), place)

    def _row(self, columns: Mapping[str, Any], example: Any, place: str) -> Row:
        try:
            return Row(columns, inputs_of(self.task, example(), place))
        except UserError as error:
            return Row(columns, None, error)

    def _example(self, row: Mapping[str, Any], place: str, folders: Sequence[Path]) -> Example:
        columns = columns_of(self.task, row)
        given = {part: row.get(column) for part, column in columns.items()}
        if "image" in given and isinstance(given["image"], str) and given["image"].strip():
            given["image"] = image_file(self.source.parent / given["image"].strip(), place, folders)
        elif "image" in given:
            raise UserError(f"{place}: '{columns['image']}' names no picture; fill it, or remove the row")
        return Example(**given)

    def _needed(self, table: Table) -> tuple[str, ...]:
        """Return the columns that the table must have: by the names of the training data where it has those, or plainly."""
        trained = tuple(self.task.columns.get(part, part) for part in self.task.pair.parts)
        try:
            _, first = next(table.rows(self.source, trained, self._as_task(table.name)), (0, None))
        except UserError:
            return self.task.pair.parts
        return self.task.pair.parts if isinstance(first, UserError) else trained

    def _as_task(self, kind: str) -> TaskSettings:
        """Return the task as the readers of tables take it."""
        task = self.task
        told = {"name": task.name, "type": task.type, "modality": task.modality, "domain": task.domain, "source": kind}
        return TaskSettings.model_validate(told)


class AnswerWriter:
    """Writes rows with their answers, one by one; the file is there, whole, when all are written, and otherwise not at all.

    Parameters
    ----------
    path
        A ``.csv`` or ``.jsonl`` file. Pictures that a model draws go beside it, into ``NAME.pictures/``, and rows name them.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in TABLES:
            raise UserError(f"--output {path}: give a file that ends in .csv or .jsonl")
        if not path.parent.is_dir():
            raise UserError(f"--output {path}: there is no folder {path.parent}; make it first")
        self._path = path
        self._scrap = path.with_name(f".{path.name}.part")
        self._pictures = path.with_name(f"{path.name}.pictures")
        if self._pictures.exists():
            raise UserError(f"{self._pictures}: is there already; remove it, or give another --output")
        self._file: TextIO | None = None
        self._header: list[str] = []
        self._waiting: list[Mapping[str, Any]] = []
        self.count = 0

    def __enter__(self) -> AnswerWriter:
        self._file = self._scrap.open("w", encoding="utf-8", newline="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        if self._waiting:  # no row could be read
            writer = csv.writer(self._file)
            writer.writerow(CSV_ANSWERS)
            self._write_waiting(writer)
        self._file.close()
        if kind is None:
            os.replace(self._scrap, self._path)
        else:
            self._scrap.unlink(missing_ok=True)

    def write(self, row: Row, answer: Any) -> None:
        """Write a row and its answer, or why there is none."""
        self.count += 1
        told = {**row.columns, **self._answer(row, answer)}
        assert self._file is not None
        try:
            if self._path.suffix.lower() == ".jsonl":
                self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
            else:
                self._write_csv(self._file, told)
        except OSError as error:
            raise_full(error, self._path)
            raise

    def _answer(self, row: Row, answer: Any) -> dict[str, Any]:
        if row.fault is not None:
            return {"prediction": None, "error": str(row.fault)}
        if isinstance(answer, dict) and "labels" in answer:
            return {"prediction": answer["labels"], "probabilities": answer["probabilities"]}
        if isinstance(answer, dict):
            found = answer["probabilities"]
            return {"prediction": answer["label"], "probability": found[answer["label"]], "probabilities": found}
        if isinstance(answer, np.ndarray):
            self._pictures.mkdir(exist_ok=True)
            path = self._pictures / f"{self.count:07d}.png"
            Image.fromarray(answer).save(path)
            return {"prediction": path.relative_to(self._path.parent).as_posix()}
        return {"prediction": answer}

    def _write_csv(self, file: TextIO, told: Mapping[str, Any]) -> None:
        """Write a row under the header that the first readable one makes; unreadable ones before it wait for that."""
        known = [name for name in told if name not in ANSWERS]
        writer = csv.writer(file)
        if not self._header:
            if not known:
                self._waiting.append(told)
                return
            self._header = known
            writer.writerow([*known, *CSV_ANSWERS])
            self._write_waiting(writer)
        more = next((name for name in known if name not in self._header), None)
        if more is not None:
            raise UserError(f"row {self.count} has a column '{more}' that the first has not; give a .jsonl as --output")
        if isinstance(told.get("prediction"), list):
            told = {**told, "prediction": LABELS.join(told["prediction"])}
        writer.writerow([told.get(name, "") for name in (*self._header, *CSV_ANSWERS)])

    def _write_waiting(self, writer: Any) -> None:
        for told in self._waiting:
            writer.writerow([told.get(name, "") for name in (*self._header, *CSV_ANSWERS)])
        self._waiting = []


def _check_free(columns: Mapping[str, Any], place: Path) -> None:
    taken = next((name for name in ANSWERS if name in columns), None)
    if taken is not None:
        raise UserError(f"{place}: has a column '{taken}', which the answers are to have; give it another name")


def answer_rows(
    model: PersonalModel,
    reader: RowReader,
    writer: AnswerWriter,
    *,
    batch_size: int = 32,
    skip: bool = False,
    tell: Callable[[int], None] = lambda done: None,
) -> int:
    """Answer all rows, no more than a batch of them in memory, and return how many could not be read.

    ``skip`` has those written down with the reason in the place of an answer. ``tell`` is called with how many are done.

    Raises
    ------
    UserError
        Without ``skip``, at the first row that cannot be read.
    """
    rows, faults = reader.rows(), 0
    while batch := list(islice(rows, batch_size)):
        broken = [row.fault for row in batch if row.fault is not None]
        if broken and not skip:
            raise UserError(f"{broken[0]} (or leave out what cannot be read: --on-unreadable skip)")
        faults += len(broken)
        found = iter(model.answers([row.inputs for row in batch if row.inputs is not None], task=reader.task.name))
        for row in batch:
            writer.write(row, None if row.inputs is None else next(found))
        tell(writer.count)
    return faults
