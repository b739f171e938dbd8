"""Files are whole or absent, whatever goes wrong while they are written; digests do not collide by concatenation."""

import errno
import hashlib
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.storage import digest, json_bytes, raise_full, read_json, settle, write_bytes, write_json


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_are_written_and_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_bytes(path, b"\x00one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert everything_in(path.parent) == ["file"]


def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what was in each file when the disk was waited for; it grows."""
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.pread(handle, 100, 0)))
    return seen


def test_the_disk_is_waited_for_at_each_file_or_once_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = waited_for(monkeypatch)
    write_bytes(tmp_path / "alone", b"alone")
    assert seen == [b"alone"]
    write_bytes(tmp_path / "many" / "2", b"2", durable=False)
    write_bytes(tmp_path / "many" / "1", b"1", durable=False)
    assert seen == [b"alone"]
    settle(tmp_path / "many")
    assert seen == [b"alone", b"1", b"2"]


def test_only_files_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = waited_for(monkeypatch)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plain").write_bytes(b"plain")
    settle(tmp_path)
    assert seen == [b"plain"]


def test_a_folder_that_is_missing_has_nothing_to_wait_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = waited_for(monkeypatch)
    settle(tmp_path / "none")
    assert not seen


def test_a_disk_that_turns_out_to_be_full_is_said_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "c1.json").write_bytes(b"{}")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"c1\.json: no space left to write; free some space, then run the same command"):
        settle(tmp_path)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), RunError),
        (OSError(errno.EFBIG, "File too large"), RunError),
        (OSError(errno.EIO, "Input/output error"), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full", "quota", "size", "fault", "interrupt"],
)
def test_a_failing_write_leaves_the_old_file_and_no_scrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*_: Any) -> Any:
        raise error

    class Failing:
        def __init__(self, handle: int, _: str) -> None:
            self._file = original(handle, "wb")

        def __enter__(self) -> "Failing":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        write = fail

    if step == "write":
        original = os.fdopen
        monkeypatch.setattr(os, "fdopen", Failing)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(raised) as caught:
        write_bytes(path, b"new")
    monkeypatch.undo()
    if raised is RunError:
        assert str(caught.value) == (
            f"{path}: no space left to write; free some space, then run the same command with --resume=auto"
        )
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == ["file"]


def test_a_disk_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def on_full_disk(dir: Path, prefix: str) -> tuple[int, str]:
        link = dir / f"{prefix}x"
        link.symlink_to("/dev/full")
        return os.open(link, os.O_WRONLY), str(link)

    monkeypatch.setattr("tempfile.mkstemp", on_full_disk)
    with pytest.raises(RunError, match="no space left to write"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == ["file"]


def test_other_faults_of_the_machine_are_not_called_a_full_disk(tmp_path: Path) -> None:
    raise_full(OSError(errno.EACCES, "Permission denied"), tmp_path)  # returns
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"Not a directory|File exists") as caught:
        write_bytes(tmp_path / "file" / "below", b"new")
    assert not isinstance(caught.value, RunError)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_json_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_bytes().endswith(b"\n")
    line = json_bytes(value, compact=True)
    assert json.loads(line) == value
    assert line.count(b"\n") == 1
    assert len(line) <= len(json_bytes(value))


def test_json_is_put_together_in_little_more_memory_than_it_takes() -> None:
    value = [{"client": f"c{number}", "value": number / 7, "of": None} for number in range(20_000)]
    tracemalloc.start()
    try:
        data = json_bytes(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data == (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
    assert peak < 3 * len(data)  # all the pieces at once take nine times as much


def test_equal_json_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "1", {"b": 1, "a": {"é": 2, "d": 3}})
    write_json(tmp_path / "2", {"a": {"d": 3, "é": 2}, "b": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert json_bytes({"b": 1, "a": 2}, compact=True) == b'{"a":2,"b":1}\n'
    assert json.loads((tmp_path / "1").read_text(encoding="utf-8"))["a"]["é"] == 2


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": object()}])
def test_what_json_cannot_say_leaves_the_old_file(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "file"
    write_json(path, 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(path, value)
    with pytest.raises((ValueError, TypeError)):
        json_bytes(value, compact=True)
    assert read_json(path) == 1


def test_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(UserError, match=r"run\.json: the file is missing"):
        read_json(path)
    for data in (b"", b'{"a": 1', b"\xff\xfe"):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"run\.json: not a readable JSON file .*restore it from a copy"):
            read_json(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"run\.json: not a readable JSON file"):
        read_json(path)


PARTS = st.lists(st.binary(max_size=12), max_size=4)


@given(PARTS, PARTS)
def test_two_lists_of_parts_have_one_digest_only_if_they_are_the_same(one: list[bytes], two: list[bytes]) -> None:
    assert (digest(*one) == digest(*two)) == (one == two)


def test_parts_are_framed() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest() != digest("") != digest("", "")
    assert digest("é") == digest("é".encode())
    assert digest("ab") == hashlib.sha256(b"\x02\x00\x00\x00\x00\x00\x00\x00ab").hexdigest()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_is_as_open_as_any_other_and_a_rewritten_one_stays_as_it_was(tmp_path: Path, mask: int) -> None:
    path, plain = tmp_path / "file", tmp_path / "plain"
    before = os.umask(mask)
    try:
        write_bytes(path, b"one")
        plain.write_bytes(b"one")
        assert path.stat().st_mode == plain.stat().st_mode
        for mode in (0o600, 0o640, 0o664):
            path.chmod(mode)
            write_bytes(path, b"two")
            assert path.stat().st_mode & 0o777 == mode
        assert os.umask(mask) == mask  # which asking for it has not changed
    finally:
        os.umask(before)
