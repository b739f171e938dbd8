"""How the process's threads wait for each other, and how many cores there are for them. How many they are PyTorch decides."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_SPINS = "1000"  # libgomp's own choice where it knows that threads are more than cores
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""What to add to the environment of a process that is to work with one thread."""


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenMP's threads soon give their core away while they wait, unless the user has said how they wait.

    By default GNU's OpenMP, which PyTorch brings on Linux, spins for milliseconds at the end of each parallel loop. One process
    alone gains a little by that; two on the same cores stop each other: two runs of the quickstart side by side on two cores took
    350 seconds, and 146 with this; one alone took 76 and 80. Results do not depend on it.

    It works for libraries that are loaded afterwards: call it before torch is imported.

    Parameters
    ----------
    environment
        Of this process, or of one that is to be started.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _SPINS)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
