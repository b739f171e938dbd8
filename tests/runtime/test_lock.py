"""One process at a time in a folder, however the one before has ended."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedtap.runtime.errors import UserError
from fedtap.runtime.lock import FILE, ROUNDS, held, locked

SRC = Path(__file__).parents[2] / "src"
HOLD = """
import sys, time
from pathlib import Path
from fedtap.runtime.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_refused_until_the_first_has_been_killed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(UserError, match="another fedtap is at work there"), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_begun_leaves_no_folder_and_no_file(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_who_waits_gets_it_when_the_other_is_done_and_shares_it_with_nobody(tmp_path: Path) -> None:
    """The file is taken away with the lock: who had opened it by then must take the one that lies there afterwards."""
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path, wait=True):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_locks_of_two_names_do_not_know_each_other(tmp_path: Path) -> None:
    with locked(tmp_path), locked(tmp_path, name=ROUNDS):
        pass


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; give a folder"), locked(tmp_path / "file"):
        pass


def test_without_flock_the_other_lock_is_taken_and_without_both_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    taken: list[int] = []
    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(fcntl, "lockf", lambda handle, how: taken.append(how))
    with locked(tmp_path):
        assert taken == [fcntl.LOCK_EX | fcntl.LOCK_NB]
    monkeypatch.setattr(fcntl, "lockf", none)
    with pytest.warns(RuntimeWarning, match="its file system has no locks"), locked(tmp_path):
        pass


def test_who_looks_whether_a_folder_is_kept_keeps_nobody_out(tmp_path: Path) -> None:
    assert held(tmp_path) is False
    with locked(tmp_path):
        assert held(tmp_path) is True
    assert held(tmp_path) is False
    (tmp_path / FILE).touch()  # left behind by a process that was killed
    assert held(tmp_path) is False
    handle = os.open(tmp_path / FILE, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)  # a look, at the very instant at which a run begins
    threading.Timer(0.03, os.close, [handle]).start()
    with locked(tmp_path):
        assert held(tmp_path) is True


def test_where_nobody_can_tell_it_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    with locked(tmp_path):
        monkeypatch.setattr(fcntl, "flock", no_locks)
        assert held(tmp_path) is None
