"""Arrays that lie in a file and are read as they are used, at no file descriptor each.

``numpy.memmap`` keeps a descriptor for as long as its array lives, and a process may have a thousand or fewer. Not here: what the
files are, and whether they are whole (``encode.py``).
"""

from __future__ import annotations

import ctypes
import io
import mmap
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray


def map_halves(path: Path, shape: tuple[int, int]) -> NDArray[np.float16]:
    """Return the float16 array of an ``.npy`` file, read-only, as pages of the file; nothing of it is read yet.

    Raises
    ------
    ValueError
        If the file holds no such array.
    OSError
        If it cannot be opened.
    """
    expected = io.BytesIO()
    np.lib.format.write_array_header_1_0(expected, {"descr": "<f2", "fortran_order": False, "shape": shape})
    header = expected.getvalue()  # compared byte by byte, since numpy's reader of headers is not made for damaged ones
    start = len(header)
    with path.open("rb") as file:
        found = file.read(start)
        size = file.seek(0, 2)
    if found != header or size != start + 2 * shape[0] * shape[1]:
        raise ValueError("it is not the array that its index tells of")
    try:
        # torch closes the file once it is mapped; the mapping is private, and nothing is written to it
        whole = torch.from_file(str(path), shared=False, size=size // 2, dtype=torch.float16)
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from error
    array: NDArray[np.float16] = whole.numpy()[start // 2 :].reshape(shape)
    array.flags.writeable = False
    return array


def let_go(array: NDArray[np.float16]) -> None:
    """Give back the memory that the pages of a mapped array take; they are read again when they are used.

    Pages of a mapped file count as the process's memory once touched. Where the system takes no such advice nothing is done:
    there the kernel takes pages back when memory is short.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or not array.nbytes:
        return
    page = mmap.PAGESIZE
    start = -(-array.ctypes.data // page) * page  # whole pages within the array only
    length = (array.ctypes.data + array.nbytes - start) // page * page
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice))
