"""JSON from outside: plain values pass, what has no bounds is refused in one line, and no more is read than is allowed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import MAX_DEPTH, NotPlainError, parse, read_bounded
from fedtap.runtime.storage import read_json


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("value", [None, True, 0, -1.5, 10**99, "é\u202e\U0001f600", [], {}, {"a": [{"b": None}]}])
def test_plain_values_pass(value: Any) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value
    parse(nested(MAX_DEPTH))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        (b"\xff\xfe\xff", "decode"),
        (nested(MAX_DEPTH + 2), "nested deeper than 64"),
        (nested(1_000_000), "nested deeper than 64"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "nested deeper than 64"),
        ("NaN", "not finite"),
        ("[-Infinity]", "not finite"),
        ('{"a": 1e999}', "not finite"),
        ("1" + "0" * 101, "beyond 1e100"),
        ("9" * 10_000, "digits"),
        ('{"a": 1, "b": 2, "a": 3}', "key 'a' is given twice"),
        ('["\\ud800"]', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
    ],
)
def test_what_has_no_bounds_is_refused_in_one_line(text: str | bytes, why: str) -> None:
    with pytest.raises(NotPlainError, match=why) as told:
        parse(text)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


def test_infinities_pass_where_they_may() -> None:
    assert parse("[Infinity]", finite=False) == [float("inf")]


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"1234")
    assert read_bounded(path, 4) == b"1234"
    with pytest.raises(NotPlainError, match="longer than 3 bytes"):
        read_bounded(path, 3)
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole of a terabyte
    with pytest.raises(UserError, match=r"a\.json: not a readable JSON file \(it is longer than 256000000 bytes\)"):
        read_json(path)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 10)
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotPlainError, match="no plain file"):
            read_bounded(path, 10)
