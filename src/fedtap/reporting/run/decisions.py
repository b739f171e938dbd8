"""The decisions of a run, as a timeline: where the federated model took the personal one's place, and what was distilled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNCHANGED = {"replace": "kept", "distil": "reverted"}
"""The outcome, per kind of decision, that left the personal model as it was; all others changed it."""


@dataclass(slots=True)
class Timeline:
    """Decisions of kind "replace" for one task of one client, by round."""

    client: str
    task: str
    rounds: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def weighed(self) -> list[Mapping[str, Any]]:
        """The decisions in which there was a choice: all but the first participation's."""
        return [decision for decision in self.rounds.values() if not is_first(decision)]

    @property
    def replaced(self) -> int:
        """How often the federated model took the personal one's place although there was a choice."""
        return sum(changed(decision) for decision in self.weighed)


def changed(decision: Mapping[str, Any]) -> bool:
    """Tell whether a decision changed the personal model.

    >>> changed({"kind": "replace", "outcome": "replaced"}), changed({"kind": "replace", "outcome": "kept"})
    (True, False)
    >>> changed({"kind": "distil", "outcome": "kept"}), changed({"kind": "distil", "outcome": "reverted"})
    (True, False)
    """
    return bool(decision["outcome"] != UNCHANGED[decision["kind"]])


def is_first(decision: Mapping[str, Any]) -> bool:
    """Tell whether there was no choice: a first participation has no personal loss to compare with, or a task no loss yet.

    >>> is_first({"federated_loss": 0.5, "personal_loss": None}), is_first({"federated_loss": None, "personal_loss": 0.5})
    (True, True)
    """
    return decision.get("personal_loss") is None or decision.get("federated_loss", 0.0) is None


def is_weighed(event: Mapping[str, Any]) -> bool:
    """Tell whether an event is a decision on a replacement in which there was a choice.

    >>> is_weighed({"event": "decision", "kind": "replace", "personal_loss": 0.5}), is_weighed({"event": "update"})
    (True, False)
    """
    return event["event"] == "decision" and event.get("kind") == "replace" and not is_first(event)


def timelines(events: Iterable[Mapping[str, Any]], order: Sequence[tuple[str, str]] = ()) -> list[Timeline]:
    """Return one timeline per client and task with replacement decisions, in the order given, then by name."""
    found: dict[tuple[str, str], Timeline] = {}
    for event in decisions(events, "replace"):
        key = (event["client"], event["task"])
        found.setdefault(key, Timeline(*key)).rounds[int(event["round"])] = event
    place = {key: number for number, key in enumerate(order)}
    return [found[key] for key in sorted(found, key=lambda key: (place.get(key, len(place)), key))]


ENDS = ("distil", "mix", "refit", "choice")
"""What may become of a personal model after the last round: decisions of kind "distil", told apart by how their rule begins."""


def endings(events: Iterable[Mapping[str, Any]], end: str) -> list[Mapping[str, Any]]:
    """Return the decisions on one of :data:`ENDS`.

    >>> made = {"event": "decision", "kind": "distil", "rule": "mix: 0.5 of the way"}
    >>> [len(endings([made], end)) for end in ENDS]
    [0, 1, 0, 0]
    """
    return [event for event in decisions(events, "distil") if _end(event) == end]


def _end(event: Mapping[str, Any]) -> str:
    begins = str(event.get("rule") or "").partition(":")[0]
    return begins if begins in ENDS else "distil"


def decisions(events: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """Return the decision events of a kind, "replace" or "distil"."""
    return [event for event in events if event["event"] == "decision" and event.get("kind") == kind]
