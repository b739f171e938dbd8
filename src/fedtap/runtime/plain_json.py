"""JSON from outside as plain values, with bounds: bytes, depth, numbers; and files read no further than is allowed.

A file may come from a stranger, and a seal in it is no signature. Not here: what the values mean, and YAML (scenario/plain_yaml).
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 256_000_000  # of a file of JSON: results of many thousands of clients are smaller
MAX_DEPTH = 64
MAX_INT = 10**100  # beyond it a whole number is no float any more, and takes forever to write out


class NotPlainError(ValueError):
    """The text is no JSON that we take. The message is one line."""


def read_bounded(path: Path, most: int = MAX_BYTES, *, plain: bool = True) -> bytes:
    """Return what a file holds, if it is ``most`` bytes or fewer; more than that is never read.

    ``plain``: whether pipes and devices, which may never give anything, are refused.

    Raises
    ------
    OSError
        If it cannot be read.
    NotPlainError
        If it is longer, or no plain file.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | (getattr(os, "O_NONBLOCK", 0) if plain else 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        about = os.fstat(file.fileno())
        if plain and not stat.S_ISREG(about.st_mode):
            raise NotPlainError("it is no plain file")
        data = file.read(most + 1) if about.st_size <= most else b""
    if about.st_size > most or len(data) > most:
        raise NotPlainError(f"it is longer than {most} bytes")
    return data


def parse(text: bytes | str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text
        In UTF-8 where it is bytes.
    finite
        Whether NaN and the infinities, for which JSON has no words, are refused.

    Raises
    ------
    NotPlainError
        If it is no JSON, gives a key of an object twice, is nested deeper than 64 values, or holds a number or a text that no
        file of ours can hold.

    Examples
    --------
    >>> parse('{"rounds": 3}')
    {'rounds': 3}
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except NotPlainError:
        raise
    except RecursionError as error:
        raise NotPlainError(f"it is nested deeper than {MAX_DEPTH} values") from error
    except ValueError as error:
        raise NotPlainError(" ".join(str(error).split())[:200]) from error
    _check(value, finite)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise NotPlainError(f"key {key[:60]!r} is given twice")
            seen.add(key)
    return found


def _check(value: Any, finite: bool) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each)
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
            elif isinstance(each, str):
                _check_text(each)
            elif isinstance(each, float):
                if finite and not math.isfinite(each):
                    raise NotPlainError("it holds a number that is not finite")
            elif isinstance(each, int) and abs(each) > MAX_INT:
                raise NotPlainError("it holds a whole number beyond 1e100")
        if not below:
            return
        level = below
    raise NotPlainError(f"it is nested deeper than {MAX_DEPTH} values")


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotPlainError("it holds half a character") from error
