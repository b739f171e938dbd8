"""What a run cost: seconds by phase, bytes, steps, memory. Kept apart from the results, which must not vary from run to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtap.reporting.events import read_events
from fedtap.runtime.memory import peak_rss_bytes


class Cost:
    """A stopwatch with phases. ``carried`` is the time of earlier attempts at the same run, in seconds."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.carried = 0.0
        self._phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase of the run."""
        if not self._phases:
            self._phases["setup"] = time.perf_counter() - self._began
        started = time.perf_counter()
        yield
        self._phases[name] = time.perf_counter() - started

    def so_far(self) -> float:
        """Return all seconds spent on the run, earlier attempts included."""
        return self.carried + time.perf_counter() - self._began

    def summary(self, events: Path, *, beside: int = 0) -> dict[str, Any]:
        """Return the content of cost.json; bytes and steps are summed from the event log, so that they span all attempts.

        ``beside`` is the most memory that other processes have held for the run, in bytes.
        """
        told = list(read_events(events))
        work = [event for event in told if event["event"] in ("update", "personalised")]
        carried = [*work, *(event for event in told if event["event"] == "secure")]
        return {
            "seconds": round(self.so_far(), 3),
            "bytes_down": sum(int(event["bytes_down"]) for event in carried),
            "bytes_up": sum(int(event["bytes_up"]) for event in carried),
            "peak_rss_bytes": peak_rss_bytes() + beside,
            "steps_total": sum(int(event["steps"]) for event in work),
            "by_phase": {name: round(seconds, 3) for name, seconds in self._phases.items()},
        }
