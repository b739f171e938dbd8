"""A round's events added up into what a progress line says. Pure: events in, numbers out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from fedtap.reporting.events import LOST
from fedtap.reporting.html.formatting import human_bytes, number
from fedtap.reporting.run.decisions import changed, is_weighed
from fedtap.reporting.run.series import task_losses


@dataclass(slots=True)
class RoundSummary:
    """What happened in the round that is going on."""

    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    weighed: int = 0
    replaced: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    lost: int = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Add an event of the round."""
        kind = event["event"]
        if kind == "update":
            for model, _, loss in task_losses(event):
                self.losses[model].append(loss)
            self.bytes_down += int(event.get("bytes_down") or 0)
            self.bytes_up += int(event.get("bytes_up") or 0)
        elif is_weighed(event):
            self.weighed += 1
            self.replaced += changed(event)
        elif kind in LOST:
            self.lost += 1

    def line(self) -> str:
        """Return the round in a line: mean loss of each model over the clients' tasks, replacements, bytes, replies lost."""
        parts = [f"{model} loss {number(fmean(values))}" for model, values in self.losses.items()]
        if self.weighed:
            parts.append(f"replaced {self.replaced}/{self.weighed}")
        if self.bytes_down or self.bytes_up:
            parts.append(f"down {human_bytes(self.bytes_down)}, up {human_bytes(self.bytes_up)}")
        if self.lost:
            parts.append(f"{self.lost} lost")
        return "  ".join(parts)
