"""Frames between fedtap's own processes, a JSON object and some bytes, and how they go over a pipe.

Not here: what they mean (``frames.py``).

Without torch, so that a process that is being started can be told to end before it has loaded it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeAlias

Head: TypeAlias = Mapping[str, Any]
Frame: TypeAlias = tuple[dict[str, Any], bytes]

_LENGTH = 8


class WorkerGoneError(Exception):
    """Who was to answer has ended; the text says how, in one line."""


def write_frame(stream: BinaryIO, head: Head, data: bytes = b"") -> None:
    """Write a frame, whole, to a buffered stream; raises BrokenPipeError if nobody reads any more."""
    for part in (json.dumps(head).encode(), data):
        stream.write(len(part).to_bytes(_LENGTH, "big"))
        stream.write(part)
    stream.flush()


def read_frame(stream: BinaryIO) -> Frame | None:
    """Read a frame; None at the end of the stream, in the middle of a frame too: who was writing has died."""
    text = _read_part(stream)
    data = None if text is None else _read_part(stream)
    return None if text is None or data is None else (json.loads(text), data)


def _read_part(stream: BinaryIO) -> bytes | None:
    length = stream.read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    size = int.from_bytes(length, "big")
    part = stream.read(size)
    return part if len(part) == size else None
