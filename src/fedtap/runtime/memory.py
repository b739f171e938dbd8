"""The machine's memory: how much there is, is left and is held, and how the allocator treats what is freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep memory that is freed for what is allocated next; return whether it does.

    A training step frees hundreds of large tensors and allocates as many of the same sizes. glibc gives blocks of that size back
    to the system and asks for them anew, which then clears every page: up to a tenth of a step on FLAVA. The process holds
    its peak from then on. Elsewhere than with glibc nothing is changed. The command calls this; whoever uses fedtap from Python
    decides for the process.
    """
    if not sys.platform.startswith("linux"):
        return False

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library, such as musl
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


def machine_memory() -> int:
    """Return the bytes of memory of the machine; where it does not tell, 64 GB."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 64_000_000_000


def available_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how much more memory processes may take: what the machine has left, or the container, if that is less."""
    import psutil

    left = int(psutil.virtual_memory().available)
    # Of version 2, as a container sees it; elsewhere, and without a limit ("max"), the machine's own number stands.
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        left = min(left, limit - used)
    return max(left, 0)


def peak_rss_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
