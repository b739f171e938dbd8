"""What holds for every test."""

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec

# The tests' tensors are tiny: a second thread only waits for the first, and on a busy machine for long. Before torch is loaded,
# and for the processes that tests start as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A process of pytest-xdist has the width of its parent's terminal here, and tables would be broken to fit it.
os.environ.pop("COLUMNS", None)

# Whoever runs the tests in the background has them ignore Ctrl-C, or the end of a terminal, and so would what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import pytest
import torch
from hypothesis import settings

collect_ignore = [] if find_spec("flwr") else ["loopback.py"]  # Flower takes a newer Python than the rest
if not find_spec("ray"):
    collect_ignore.append("e2e/test_ray_runs.py")

torch.set_num_threads(1)

# No test is about time, and on a busy machine any example may take long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """Leave it to the system when a file reaches the disk: no test takes the machine's power away, and a run writes dozens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest: what is left at the end is small, and every process has its share of it."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_report_header() -> list[str]:
    """Say which tests are not here, and why."""
    return [] if find_spec("ray") else ["Ray is not installed (extra `ray`): e2e/test_ray_runs.py is left out"]
