"""What was decided about a client's personal model. Not here: how (gates, replacement, guard)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice made at a client, for the event log. Losses are in nats, or MSE; None where there was none to compare."""

    task: str
    kind: Literal["replace", "distil"]
    outcome: str
    federated_loss: float | None
    personal_loss: float | None
    rule: str
