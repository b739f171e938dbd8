"""The user's own spreadsheets: one example a row of a sheet in an ``.xlsx`` file. Values as they were last computed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Generator, Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, ClassVar

from fedtap.data.sources.base import composed
from fedtap.data.sources.tables import Row, Table
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.installing import install
from fedtap.runtime.text import one_line
from fedtap.scenario.scenario import TaskSettings

MOST_BYTES = 2**30
"""Of a file's content once it is unpacked: a small file may hold much more than memory does."""


class Spreadsheet(Table):
    """A sheet with its header in the first row: the one that ``sheet`` names, or the only one of the file."""

    name = "xlsx"
    title = "a spreadsheet"
    takes: ClassVar[frozenset[str]] = Table.takes | {"sheet"}

    def rows(self, path: Path, needed: tuple[str, ...], task: TaskSettings) -> Iterator[tuple[int, Row]]:
        """Iterate over the rows below the header; numbers and dates become text, as a CSV file would have them."""
        openpyxl = _library()
        _check_size(path)
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError, zipfile.BadZipFile) as error:
            raise _not_a_spreadsheet(path, error) from error
        found: Generator[Any] | None = None
        try:
            found = _sheet(book, task, path).iter_rows()
            rows = enumerate(found, start=1)
            header = _header(next(rows, (1, ()))[1], needed, path)
            for line, cells in rows:
                if all(cell.value is None for cell in cells):
                    continue  # what spreadsheet programs leave below the last row
                yield line, _values(cells, header, f"{path}:{line}")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError, zipfile.BadZipFile) as error:
            raise _not_a_spreadsheet(path, error) from error
        finally:
            if found is not None:
                found.close()  # the file stays open for as long as its sheet is
            book.close()


def sheet_names(path: Path) -> list[str]:
    """Return what a file's sheets are called; raises :class:`UserError` if it is no spreadsheet that can be read."""
    openpyxl = _library()
    _check_size(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True)
        names = [composed(sheet.title) for sheet in book.worksheets]
        book.close()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError, zipfile.BadZipFile) as error:
        raise _not_a_spreadsheet(path, error) from error
    return names


def _library() -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise UserError(
            f"source 'xlsx': package openpyxl is not installed; run: {install('xlsx')}, or save the sheet as CSV"
        ) from error
    return openpyxl


def _check_size(path: Path) -> None:
    """Refuse what is no zip archive, as an ``.xlsx`` file is, or would unpack to more than memory bears."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: no .xlsx spreadsheet, or one with a password ({one_line(str(error), 120)}); save it as .xlsx without a "
            "password, or as CSV"
        ) from error
    if size > MOST_BYTES:
        raise UserError(f"{path}: unpacks to {size / 2**30:.1f} GiB; {MOST_BYTES // 2**30} at the most: save it as CSV")


def _not_a_spreadsheet(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: not readable as a spreadsheet ({one_line(str(error), 120) or type(error).__name__}); save it anew, or as CSV"
    )


def _sheet(book: Any, task: TaskSettings, path: Path) -> Any:
    names = {composed(sheet.title): sheet for sheet in book.worksheets}
    if task.sheet is not None:
        if composed(task.sheet) not in names:
            raise UserError(f"{path}: no sheet '{task.sheet}' ({nearest(task.sheet, names)}); mend 'sheet'")
        return names[composed(task.sheet)]
    if len(names) != 1:
        raise UserError(
            f"{path}: has {len(names)} sheets ({', '.join(map(repr, names))}); name one in the task: sheet: ..."
        )
    return next(iter(names.values()))


def _header(cells: Any, needed: tuple[str, ...], path: Path) -> list[str]:
    header = ["" if cell.value is None else composed(_text(cell.value).strip()) for cell in cells]
    for name in needed:
        if header.count(name) > 1:
            raise UserError(f"{path}:1: column '{name}' is there twice; rename one")
        if name not in header:
            named = [each for each in header if each]
            near = nearest(name, named) if named else "the first row is empty"
            raise UserError(f"{path}:1: no column '{name}' ({near}); mend the header, or map it in 'columns'")
    return header


def _values(cells: Any, header: list[str], place: str) -> Row:
    values: Mapping[str, Any] = {name: cell for name, cell in zip(header, cells, strict=False) if name}
    for name, cell in values.items():
        if cell.data_type == "e":
            return UserError(f"{place}: '{name}' holds the error {cell.value}; mend the cell, or remove the row")
    filled = {name: "" if cell.value is None else _text(cell.value) for name, cell in values.items()}
    return {name: filled.get(name, "") for name in header if name}


def _text(value: object) -> str:
    """Return a cell's value as a CSV file would have it.

    >>> _text(3.0), _text(0.5), _text(True), _text("a")
    ('3', '0.5', 'TRUE', 'a')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) else json.dumps(value, default=str).strip('"')
