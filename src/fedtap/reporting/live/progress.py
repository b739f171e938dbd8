"""How far a run is, from its events: rounds done, who is at work, how long it may take. Pure: events in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from fedtap.reporting.events import LOST
from fedtap.reporting.run.decisions import changed, is_weighed
from fedtap.reporting.run.series import round_seconds, task_losses

RECENT = 20
"""Rounds from whose seconds the time left is reckoned: a machine may have been busier before."""


@dataclass(slots=True)
class ClientProgress:
    """What a client has come to: in which rounds it trained, its newest losses (model, task -> loss), what was decided."""

    rounds: list[int] = field(default_factory=list)
    losses: dict[tuple[str, str], float] = field(default_factory=dict)
    weighed: int = 0
    replaced: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    done
        Rounds that are finished.
    rounds
        Of the whole run.
    now
        The round that goes on, if one does.
    at_work
        Its clients, each with ``waiting``, ``done`` or ``lost``.
    seconds
        Of a recent round, on average.
    personalised
        Clients that have their model after the last round.
    clients
        By id.
    """

    done: int
    rounds: int
    now: int | None
    at_work: Mapping[str, str]
    seconds: float | None
    personalised: int
    clients: Mapping[str, ClientProgress]

    @property
    def seconds_left(self) -> float | None:
        """How long the rounds that are left may take; None while no round has shown it."""
        return None if self.seconds is None else self.seconds * max(0, self.rounds - self.done)


def progress_of(events: Sequence[Mapping[str, Any]], rounds: int) -> Progress:
    """Return how far a run of so many rounds is."""
    finished = {int(event["round"]) for event in events if event["event"] == "round_finished"}
    started = [event for event in events if event["event"] == "round_started"]
    now = int(started[-1]["round"]) if started and int(started[-1]["round"]) not in finished else None
    seconds = list(round_seconds(events).values())[-RECENT:]
    personalised = {event.get("client") for event in events if event["event"] == "personalised"}
    return Progress(
        done=len(finished),
        rounds=rounds,
        now=now,
        at_work={} if now is None else _at_work(events, started[-1], now),
        seconds=fmean(seconds) if seconds else None,
        personalised=len(personalised),
        clients=_clients(events),
    )


def _at_work(events: Iterable[Mapping[str, Any]], start: Mapping[str, Any], now: int) -> dict[str, str]:
    chosen = start.get("clients")
    found = {str(client): "waiting" for client in chosen} if isinstance(chosen, list) else {}
    for event in events:
        if event.get("round") == now and event.get("client") is not None:
            if event["event"] == "update":
                found[str(event["client"])] = "done"
            elif event["event"] in LOST:
                found[str(event["client"])] = "lost"
    return found


def _clients(events: Iterable[Mapping[str, Any]]) -> dict[str, ClientProgress]:
    found: dict[str, ClientProgress] = {}
    for event in events:
        client = event.get("client")
        if client is None:
            continue
        mine = found.setdefault(str(client), ClientProgress())
        if event["event"] == "update":
            mine.rounds.append(int(event["round"]))
            mine.losses.update({(model, task): loss for model, task, loss in task_losses(event)})
        elif is_weighed(event):
            mine.weighed += 1
            mine.replaced += changed(event)
        elif event["event"] in LOST:
            mine.lost += 1
    return found
