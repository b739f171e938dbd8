"""The IDX files of the MNIST family, gzipped: unsigned bytes in one or more dimensions. Plain NumPy.

A file begins with two zero bytes, the type (8: unsigned byte) and the number of dimensions, then each dimension as a 32-bit
big-endian number, then the bytes, last dimension fastest (http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtap.runtime.errors import UserError

_UNSIGNED_BYTE = 8


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the array of a gzipped IDX file, ``(n, *shape)`` uint8.

    Raises
    ------
    UserError
        If the file is missing, is not such a file, has items of another shape, or is cut short.
    """
    try:
        with gzip.open(path) as file:
            head = file.read(4 + 4 * (1 + len(shape)))
            sizes = _sizes(head, path, shape)
            wanted = math.prod(sizes)
            content = file.read(wanted + 1)  # no more than the file says that it holds, whatever it would unpack to
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read ({reason}); restore it from a whole copy") from error
    if len(content) != wanted:
        more = "more" if len(content) > wanted else f"only {len(content)}"
        raise UserError(f"{path}: {wanted} bytes are announced and {more} are there; restore it from a whole copy")
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes)


def _sizes(head: bytes, path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the dimensions that a file's head tells."""
    if len(head) < 4 + 4 * (1 + len(shape)) or head[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or head[3] != 1 + len(shape):
        kind = "x".join(map(str, ("n", *shape)))
        raise UserError(f"{path}: not an IDX file of {kind} unsigned bytes; restore it from a whole copy")
    sizes = tuple(int(size) for size in np.frombuffer(head[4:], dtype=">u4"))
    if sizes[1:] != shape:
        raise UserError(f"{path}: its items have the shape {sizes[1:]}, not {shape}; give the file that belongs here")
    return sizes
