"""A growing log is read once: what is appended, whole lines only, and anew where it was cut back."""

import json
import os
from pathlib import Path

import pytest

from fedtap.reporting.events import EventLog, read_events
from fedtap.reporting.live import follow
from fedtap.reporting.live.follow import Follower
from fedtap.runtime.errors import UserError


def line(number: int, event: str = "round_started") -> str:
    return json.dumps({"event": event, "round": number, "time": float(number)}) + "\n"


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_only_what_was_appended_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    follower = Follower(path)
    assert follower.read() is False  # not there yet
    append(path, "".join(line(number) for number in range(1, 101)))
    assert follower.read() is True
    taken = 0
    real = os.pread

    def counted(handle: int, size: int, offset: int) -> bytes:
        nonlocal taken
        data = real(handle, size, offset)
        taken += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert follower.read() is False
    assert taken == 0
    append(path, line(101))
    assert follower.read() is True
    assert taken <= follow.TAIL + len(line(101))
    assert follower.events == read_events(path)


def test_a_half_written_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = Follower(path)
    append(path, line(1) + line(2)[:9])
    assert follower.read() is True
    assert [event["round"] for event in follower.events] == [1]
    append(path, line(2)[9:-1])
    assert follower.read() is False
    append(path, "\n")
    assert follower.read() is True
    assert [event["round"] for event in follower.events] == [1, 2]


def test_a_log_that_a_resumed_run_cut_back_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path, clock=lambda: 1.0) as log:
        log({"event": "round_started", "round": 1})
        kept = log.offset()
        log({"event": "round_started", "round": 2})
        follower = Follower(path)
        assert follower.read() is True
        log.truncate(kept)
        for number in (5, 6, 7):  # longer than it was before the next look
            log({"event": "round_started", "round": number})
    assert follower.read() is True
    assert [event["round"] for event in follower.events] == [1, 5, 6, 7]
    path.write_text(line(1))
    assert follower.read() is True
    assert [event["round"] for event in follower.events] == [1]
    path.unlink()
    assert follower.read() is True
    assert follower.events == []


def test_a_line_longer_than_what_is_read_at_a_time_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AT_ONCE", 10)
    path = tmp_path / "events.jsonl"
    append(path, line(1) + line(2) + line(3)[:-3])
    follower = Follower(path)
    assert follower.read() is True
    assert [event["round"] for event in follower.events] == [1, 2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (line(1) + "no json\n", "line 2 is damaged"),
        (line(1) + line(2) + '{"event": "update", "round": 1}\n', "line 3: 'client'"),
        ('{"event": "round_started", "round": 1, "time": "<b>"}\n', "line 1: 'time'"),
        ("x" * 200, "longer than 100 bytes"),
    ],
)
def test_what_no_run_writes_is_said_once_and_read_again_when_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.setattr(follow, "MAX_LINE", 100)
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    follower = Follower(path)
    with pytest.raises(UserError, match=told):
        follower.read()
    assert follower.read() is False
    assert follower.events == []
    path.write_text(line(7))
    assert follower.read() is True
    assert [event["round"] for event in follower.events] == [7]


def test_a_pipe_is_refused_and_does_not_hold_up_anybody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    with pytest.raises(UserError, match="no plain file"):
        Follower(tmp_path / "events.jsonl").read()
