"""The event log: whole lines, cut back where a run is resumed, readable after a crash."""

import errno
import json
import math
from pathlib import Path

import pytest

from fedtap.reporting.events import EventLog, read_events
from fedtap.runtime.errors import RunError, UserError


class Clock:
    """Seconds that pass one at a time."""

    def __init__(self) -> None:
        self.now = 99.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    with EventLog(path, clock=Clock()) as log:
        log({"event": "round_started", "round": 1})
        log({"event": "update", "round": 1, "client": "ä\n", "losses": {"t": 0.5}})
        assert read_events(path)[0] == {"event": "round_started", "round": 1, "time": 100.0}  # before close: flushed
    assert read_events(path)[1] == {"event": "update", "round": 1, "client": "ä\n", "losses": {"t": 0.5}, "time": 101.0}


def test_progress_is_not_logged(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log({"event": "encoding", "done": 1, "total": 2, "tower": "vision"})
        log({"event": "finished", "round": 3})
    assert [event["event"] for event in read_events(path)] == ["finished"]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path, clock=Clock()) as log:
        log({"event": "decision", "personal_loss": math.inf, "more": [math.nan, (1, -math.inf)]})
    strict = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"event": "decision", "personal_loss": None, "more": [None, [1, None]], "time": 100.0}


def test_a_resumed_run_cuts_off_the_round_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log({"event": "round_finished", "round": 1})
        checkpoint = log.offset()
        log({"event": "update", "round": 2})
    with EventLog(path) as log:
        log.truncate(checkpoint)
        log({"event": "round_started", "round": 2})
    assert [(event["event"], event["round"]) for event in read_events(path)] == [
        ("round_finished", 1),
        ("round_started", 2),
    ]


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl") as log, pytest.raises(UserError, match=r"0 bytes, but the checkpoint.*10"):
        log.truncate(10)


def test_a_torn_last_line_is_left_out_and_cut_off_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "a", "round": 1}\n{"event": "b", "rou')
    assert [event["event"] for event in read_events(path)] == ["a"]
    with EventLog(path) as log:
        log({"event": "c"})
    assert [event["event"] for event in read_events(path)] == ["a", "c"]


@pytest.mark.parametrize("damage", [b'{"event": "b", "rou', b"[1, 2]", b"", b"\xff\xfe", b'{"round": 1}'])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "a"}\n' + damage + b'\n{"event": "c"}\n')
    with pytest.raises(UserError, match=r"events\.jsonl: line 2 is damaged; .*restore"):
        read_events(path)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"events\.jsonl: the file is missing"):
        read_events(tmp_path / "events.jsonl")


def test_a_full_disk_is_one_clear_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log({"event": "a"})
        log._file = HalfFull(log._file)  # type: ignore[assignment]
        with pytest.raises(RunError, match=r"events\.jsonl: no space left"):
            log({"event": "b"})
    assert path.read_bytes().endswith(b"\n")
    assert [event["event"] for event in read_events(path)] == ["a"]


class HalfFull:
    """A file on a disk with room for five bytes more."""

    def __init__(self, file) -> None:
        self._file = file
        self._left = 5

    def write(self, data: bytes) -> int:
        if not self._left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._left = 0
        return self._file.write(data[:5])

    def __getattr__(self, name: str):
        return getattr(self._file, name)
