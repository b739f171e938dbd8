"""Memory that is freed and allocated again comes from the process, not anew from the system; and how much there is left."""

import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedtap.runtime.memory import available_bytes, peak_rss_bytes

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


def test_what_is_left_is_what_the_container_leaves(tmp_path: Path) -> None:
    def left(**files: str) -> int:
        for name, content in files.items():
            (tmp_path / f"memory.{name}").write_text(content)
        return available_bytes(tmp_path)

    whole = psutil.virtual_memory().total
    assert 2**20 < left() <= whole
    assert left(max="max\n", current="5\n") > 2**20  # no limit
    assert left(max="9000\n", current="5000\n") == 4000
    assert left(max="9000\n", current="9500\n") == 0
    assert left(max=f"{2**62}\n", current="0\n") <= whole


def test_the_peak_is_in_bytes() -> None:
    assert psutil.Process().memory_info().rss / 2 < peak_rss_bytes() < psutil.virtual_memory().total
