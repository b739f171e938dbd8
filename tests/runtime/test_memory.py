"""Memory that is freed and allocated again comes from the process, not anew from the system: counted in page faults."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from fedtap.runtime.memory import keep_freed_memory

kept = sys.argv[1] == "kept" and keep_freed_memory()
np.ones(20_000_000)  # 160 MB, the first of its size
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(20_000_000)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_is_freed_is_kept_for_what_comes_next() -> None:
    def run(way: str) -> tuple[int, int]:
        done = subprocess.run([sys.executable, "-c", FAULTS, way], check=True, capture_output=True, text=True)
        kept, faults = done.stdout.split()
        return int(kept), int(faults)

    assert run("kept") == (1, pytest.approx(0, abs=100))
    kept, faults = run("given back")
    assert kept == 0
    assert faults > 300  # one for every huge page of each array, at the least
