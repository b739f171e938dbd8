"""Files that are whole or absent: every write goes to a temporary name beside the target and is then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.plain_json import MAX_BYTES, parse, read_bounded

_SCRAP = re.compile(r"\.(.+)\.[A-Za-z0-9_]{6,8}")
"""The temporary name of a file that is being written."""
_PIECES = 4096
"""Pieces of JSON that are put together at once."""


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write ``data`` to ``path`` atomically; a reader sees the old file or the new one, never a part.

    It is on the disk when this returns, unless ``durable`` is off: whoever writes many files that are of use only together
    leaves it to the system, and calls :func:`settle` once.

    Raises
    ------
    RunError
        If the disk is full; the old file is untouched.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))  # a temporary file is private; what it becomes need not be
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise_full(error, path)
        raise
    finally:  # whatever went wrong, an interruption too
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def settle(folder: Path) -> None:
    """Return when the files of a folder are on the disk; one that is missing has none.

    Raises
    ------
    RunError
        If the disk turns out to be full.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_file():  # a pipe would be waited for without end
            continue
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise_full(error, path)
            raise


def _mode(path: Path) -> int:
    """Return the permissions that a file has, or a new one has by the process's mask."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    return 0o666 & ~_umask()


def _umask() -> int:
    """Return the process's mask of file permissions; the system tells it only to those who set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def is_full(error: OSError) -> bool:
    """Tell whether an error says that there is no room left to write."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def raise_full(error: OSError, path: Path) -> None:
    """Raise a :class:`RunError` with the mend if ``error`` says that the disk is full; return otherwise."""
    if is_full(error):
        raise RunError(
            f"{path}: no space left to write; free some space, then run the same command with --resume=auto"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, with sorted keys, so that equal values are equal bytes."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any, *, compact: bool = False) -> bytes:
    """Return the bytes that :func:`write_json` writes; ``compact``: on one line, in a quarter of the time."""
    form: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    encoder = json.JSONEncoder(**form, sort_keys=True, ensure_ascii=False, allow_nan=False)
    if compact:
        return f"{encoder.encode(value)}\n".encode()
    pieces = iter(encoder.iterencode(value))
    # json.dumps would hold all pieces, a few letters each, at once: eight times the memory of the text
    held = bytearray()
    while some := "".join(islice(pieces, _PIECES)):
        held += some.encode()
    held += b"\n"
    return bytes(held)


def scrap_of(path: Path) -> str | None:
    """Return the name of the file that a temporary one was to become, or None if it is no temporary one of ours."""
    found = _SCRAP.fullmatch(path.name)
    return found.group(1) if found and not path.is_symlink() and path.is_file() else None


def clear_scraps(folder: Path, *, apart: frozenset[str] = frozenset()) -> list[Path]:
    """Remove, and return, what writes that were killed have left in a folder and below; call it under the folder's lock.

    ``apart`` are names of sub-folders that are let be. A temporary file is private, and holds a part of what it was to become.
    """
    found: list[Path] = []
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name not in apart]
        for path in (Path(place, name) for name in names if name.startswith(".")):
            if scrap_of(path) is not None:
                path.unlink(missing_ok=True)
                found.append(path)
    return found


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """Read a JSON file of ``most`` bytes or fewer.

    Raises
    ------
    UserError
        If it is missing, longer, or not JSON that we take.
    """
    try:
        return parse(read_bounded(path, most))
    except FileNotFoundError as error:
        raise UserError(f"{path}: the file is missing; give the folder of a run made by `fedtap run`") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error}); restore it from a copy") from error


def digest(*parts: bytes | str) -> str:
    """Return a hex SHA-256 over the parts, each framed by its length so that no two lists of parts collide."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()
