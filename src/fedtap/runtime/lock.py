"""One process at a time in a folder: a lock that ends with its process, however that ends. Not a lock between threads.

The lock is ``flock`` on a small file in the folder, which goes when the lock does; Linux keeps it on NFS too. Where a file system
has no such lock, that of POSIX is tried; where it has none at all, the work goes on, with a warning.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import raise_full

FILE = ".lock"
ROUNDS = ".rounds.lock"
"""Of whoever does a run's rounds, where that is another process than the one that was asked for the run."""
LOCKS = frozenset({FILE, ROUNDS})
AGAIN, PAUSE = 3, 0.02
"""How often a lock that seems taken is tried again, after so many seconds: who only looks has it for an instant."""
_NOT_HERE = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


@contextlib.contextmanager
def locked(folder: Path, *, name: str = FILE, wait: bool = False) -> Iterator[None]:
    """Keep a folder for this process; it is made if it is missing, and taken away again if nothing came into it.

    Parameters
    ----------
    folder
        What to keep.
    name
        Of the lock's file.
    wait
        Wait until who has it is done, instead of refusing.

    Raises
    ------
    UserError
        If another process is at work there, or the folder cannot be written.
    """
    path = folder / name
    made = not folder.exists()
    handle = _taken(path, wait)
    try:
        yield
    finally:
        # Taken away while it is still held: who opened it meanwhile finds, once it has the lock, that it is no longer there.
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if it is empty: nothing was begun


def held(folder: Path, *, name: str = FILE) -> bool | None:
    """Tell whether some process keeps a folder; None where nobody can tell (a file system without locks, a file of others).

    It keeps nothing itself: whoever comes at the same instant has the lock all the same.
    """
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    finally:
        os.close(handle)
    return False


def _taken(path: Path, wait: bool) -> int:
    while True:
        if path.parent.exists() and not path.parent.is_dir():
            raise UserError(f"{path.parent}: is a file; give a folder as --out")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise_full(error, path)
            raise UserError(f"{path.parent}: cannot be written ({error.strerror}); give another --out") from error
        try:
            _lock(handle, path, wait)
            if _same(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder took it away as it left; once more, with the one that lies there now


def _lock(handle: int, path: Path, wait: bool) -> None:
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            _patiently(lock, handle, how)
        except OSError as error:
            if error.errno in _NOT_HERE:
                continue
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"{path}: cannot be locked ({error.strerror}); give another --out") from error
            raise UserError(
                f"{path.parent}: another fedtap is at work there; wait for it, or give another --out"
            ) from error
        return
    warnings.warn(
        f"{path.parent}: its file system has no locks, so nothing keeps a second fedtap out of it; see to it that there is none",
        RuntimeWarning,
        stacklevel=4,
    )


def _patiently(lock: Callable[[int, int], object], handle: int, how: int) -> None:
    for _ in range(AGAIN):
        with contextlib.suppress(BlockingIOError):
            lock(handle, how)
            return
        time.sleep(PAUSE)
    lock(handle, how)


def _same(handle: int, path: Path) -> bool:
    """Tell whether an open file is the one that lies at a path."""
    try:
        here, there = os.fstat(handle), os.stat(path)
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
