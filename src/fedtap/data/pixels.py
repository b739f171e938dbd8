"""Pictures known by their pixels, however they are saved: a PNG, another compression of it and a TIFF are one picture.

Looking at a picture decodes it once for each machine: what was seen is remembered beside the feature cache, by the digest of the
file. What is remembered can only save time: a line that is damaged, or of another version of Pillow, is not used.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtap.data.encode import default_folder
from fedtap.data.example import ImageRef, file_bytes
from fedtap.runtime.storage import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fedtap.data.images import Kept, Limits

SMALL_SHARE = 1 / 16
"""A source that uses no more of its range is nearly black, or nearly white: what 12 bits are of 16."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a picture: digests of its pixels as kept and as shown, and its extremes as shares of its range."""

    kept: str
    shown: str
    low: float
    high: float


def look(path: Path, limits: Limits | None = None) -> ImageRef:
    """Return a reference to a picture file by its pixels; a file that was seen before on this machine is not decoded.

    Parameters
    ----------
    path
        The file.
    limits
        The values that are shown as black and white; by default all that the file's kind can hold.

    Raises
    ------
    UserError
        If the file cannot be read or is no whole picture.
    """
    from fedtap.data.images import read_image  # Pillow is loaded by the first picture

    seen = _seen(file_bytes(path), limits, str(path))
    return ImageRef(seen.shown, partial(read_image, path, limits), seen.kept, (seen.low, seen.high))


def look_at(content: bytes, place: str, load: Callable[[], npt.NDArray[np.uint8]]) -> ImageRef:
    """Return a reference to an encoded picture by its pixels; ``load`` decodes it again, ``place`` names it in errors."""
    seen = _seen(content, None, place)
    return ImageRef(seen.shown, load, seen.kept, (seen.low, seen.high))


def key_of(image: ImageRef) -> str:
    """Return the key that a picture has by its pixels, where it is known by something else; it is decoded."""
    if image.kept is not None:
        return image.kept
    memory = _memory(default_folder() / "pixels")
    if (known := memory.get(image.digest)) is None:
        shown = _digest(image.load())
        known = _Seen(shown, shown, 0.0, 1.0)
        memory.put(image.digest, known)
    return known.kept


def _seen(content: bytes, limits: Limits | None, place: str) -> _Seen:
    from fedtap.data.images import kept_content

    name = f"{digest(content)}:{json.dumps(limits)}"
    memory = _memory(default_folder() / "pixels")
    if (known := memory.get(name)) is not None:
        return known
    seen = _look(kept_content(content, place), limits, place)
    memory.put(name, seen)
    return seen


def _look(kept: Kept, limits: Limits | None, place: str) -> _Seen:
    import numpy as np

    from fedtap.data.images import SIXTEEN_BITS, shown

    image = shown(kept, limits, place)
    black, white = limits or (0, 255 if kept.dtype == np.uint8 else SIXTEEN_BITS)
    low, high = (min(max((float(value) - black) / (white - black), 0.0), 1.0) for value in (kept.min(), kept.max()))
    own = kept
    if own.dtype.kind == "f" and np.isfinite(own).all() and np.array_equal(own, np.rint(own)):
        own = own.astype(np.int64)
    if own.dtype.kind == "i":
        eight = np.rint(own.clip(0, SIXTEEN_BITS) / 257).astype(np.uint8)
        if np.array_equal(own, eight.astype(np.int64) * 257):  # eight bits, saved as sixteen
            own = np.repeat(eight[:, :, None], 3, axis=2)
    return _Seen(_digest(own), _digest(image), low, high)


def _digest(values: npt.NDArray[Any]) -> str:
    import numpy as np

    return digest("pixels", f"{values.shape} {values.dtype.kind}", np.ascontiguousarray(values).tobytes())


class _Memory:
    """What was seen of pictures, a line each in a file to which any number of processes add; each line has a digest."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, _Seen] = {}
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    name, kept, shown, low, high, mark = json.loads(line)
                    if mark == digest(*map(str, (name, kept, shown, low, high))):
                        self._known[name] = _Seen(str(kept), str(shown), float(low), float(high))

    def get(self, name: str) -> _Seen | None:
        return self._known.get(name)

    def put(self, name: str, seen: _Seen) -> None:
        self._known[name] = seen
        values = [name, seen.kept, seen.shown, seen.low, seen.high]
        line = json.dumps([*values, digest(*map(str, values))]) + "\n"
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time, and nothing else
            self._file.parent.mkdir(parents=True, exist_ok=True)
            place = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(place, line.encode())  # one write: lines of two processes do not mix
            finally:
                os.close(place)


@cache
def _memory(folder: Path) -> _Memory:
    from PIL import __version__

    return _Memory(folder / f"pillow-{__version__}.jsonl")
