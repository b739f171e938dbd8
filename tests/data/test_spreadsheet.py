"""Spreadsheets as people have them: numbers and dates in cells, several sheets, errors, and files that are none."""

import datetime
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from fedtap.data.example import Example
from fedtap.data.sources import source, spreadsheet
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings


def task(**more: Any) -> TaskSettings:
    known = {
        "name": "t",
        "type": "classification",
        "modality": "text",
        "domain": "d",
        "source": "xlsx",
        "path": "a.xlsx",
    }
    return TaskSettings.model_validate(known | {"classes": ["cat", "dog"]} | more)


def write(folder: Path, *rows: list[Any], sheets: tuple[str, ...] = ("data",)) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


def read(folder: Path, **more: Any) -> tuple[Example, ...]:
    source("xlsx").check(task(**more))
    return tuple(source("xlsx").examples(task(**more), folder))


def test_a_sheet_row_by_row(tmp_path: Path) -> None:
    write(
        tmp_path,
        ["text", "id", "label"],
        [" it purrs; softly", 1, "cat"],
        [None, None, None],
        ["it\nbarks", 2, " dog "],
    )
    assert [(e.text, e.target) for e in read(tmp_path)] == [("it purrs; softly", 0), ("it\nbarks", 1)]


def test_numbers_and_dates_are_what_a_csv_file_would_have(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 5, 17)
    write(tmp_path, ["text", "label"], [day, 0], [3.0, 1.0], [0.25, "1"], [True, 0])
    assert [(e.text, e.target) for e in read(tmp_path, classes=2)] == [
        ("2024-05-17", 0),
        ("3", 1),
        ("0.25", 1),
        ("TRUE", 0),
    ]


def test_splits_and_groups_are_columns_here_too(tmp_path: Path) -> None:
    write(tmp_path, ["text", "label", "split", "patient"], ["a", "cat", "train", 17], ["b", "dog", "test", 18.0])
    assert [(e.split, e.group) for e in read(tmp_path, group="patient")] == [("train", "17"), ("test", "18")]


def test_a_sheet_of_several_is_named(tmp_path: Path) -> None:
    write(tmp_path, ["text", "label"], ["a", "cat"], sheets=("one", "two"))
    assert len(read(tmp_path, sheet="two")) == 1
    with pytest.raises(UserError, match=r"a\.xlsx: has 2 sheets \('one', 'two'\); name one in the task: sheet: \.\.\."):
        read(tmp_path)
    with pytest.raises(UserError, match=r"a\.xlsx: no sheet 'tow' \(did you mean 'two'\?\); mend 'sheet'"):
        read(tmp_path, sheet="tow")


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([["txt", "label"], ["a", "cat"]], "a.xlsx:1: no column 'text' (did you mean 'txt'?); mend the header"),
        ([["text", "text", "label"], ["a", "a", "cat"]], "a.xlsx:1: column 'text' is there twice"),
        ([["text", "label"], ["", "cat"]], "a.xlsx:2: 'text' is empty"),
        ([["text", "label"], ["a", "cat"], ["=1/0", "dgo"]], "a.xlsx:3: "),
        ([["text", "label"], ["a", "#N/A"]], "a.xlsx:2: 'label' holds the error #N/A; mend the cell"),
        ([["text", "label"]], "a.xlsx: no examples in it; add rows"),
        ([], "a.xlsx:1: no column 'text' (the first row is empty)"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(tmp_path: Path, rows: list[list[Any]], fault: str) -> None:
    write(tmp_path, *rows)
    with pytest.raises(UserError, match=re.escape(fault)) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_an_error_in_a_cell_is_a_row_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, ["text", "label"], ["a", "cat"], ["b", "#N/A"])
    assert [e.text for e in read(tmp_path, on_unreadable="skip")] == ["a"]


def test_what_is_no_spreadsheet_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    whole = write(tmp_path, ["text", "label"], ["a", "cat"]).read_bytes()
    for content in (
        b"",
        b"text,label\n",
        b"\xd0\xcf\x11\xe0" * 99,
        whole[:-200],
        whole[:400] + b"\0" * 200 + whole[600:],
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.xlsx: no.* spreadsheet") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no sheet")
    with pytest.raises(UserError, match="not readable as a spreadsheet"):
        read(tmp_path)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, ["text", "label"], ["a" * 30000, "cat"])
    monkeypatch.setattr(spreadsheet, "MOST_BYTES", 20000)
    with pytest.raises(UserError, match=r"a\.xlsx: unpacks to .* GiB"):
        read(tmp_path)


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ["text", "label"], ["a", "cat"])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"openpyxl is not installed; run: .*pip install .*\[xlsx\]"):
        read(tmp_path)


def test_a_sheet_is_of_a_spreadsheet_only() -> None:
    with pytest.raises(UserError, match="'sheet' means nothing to this source"):
        source("csv").check(task(source="csv", sheet="data"))
