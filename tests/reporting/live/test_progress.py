"""How far a run is, from events whose sums are done by hand."""

from typing import Any

import pytest

from fedtap.reporting.live.progress import progress_of


def update(number: int, client: str, loss: float, personal: float | None = None) -> dict[str, Any]:
    beside = {} if personal is None else {"t": personal}
    return {
        "event": "update", "round": number, "client": client, "losses": {"t": loss}, "personal_losses": beside, "bytes_up": 1,
    }  # fmt: skip


def decision(number: int, client: str, outcome: str, personal: float | None) -> dict[str, Any]:
    return {
        "event": "decision", "round": number, "client": client, "task": "t", "kind": "replace", "outcome": outcome,
        "federated_loss": 1.0, "personal_loss": personal,
    }  # fmt: skip


EVENTS = [
    {"event": "round_started", "round": 1, "time": 10.0, "clients": ["a", "b"]},
    decision(1, "a", "replaced", None),
    update(1, "a", 2.0, 1.5),
    update(1, "b", 4.0),
    {"event": "round_finished", "round": 1, "time": 14.0},
    {"event": "round_started", "round": 2, "time": 15.0, "clients": ["a", "b", "c"]},
    decision(2, "a", "kept", 0.5),
    update(2, "a", 1.0, 0.5),
    {"event": "failed", "round": 2, "client": "c", "why": "gone"},
]


def test_a_round_that_goes_on_says_who_has_answered() -> None:
    found = progress_of(EVENTS, 5)
    assert (found.done, found.now, found.seconds, found.seconds_left) == (1, 2, 4.0, 16.0)
    assert found.at_work == {"a": "done", "b": "waiting", "c": "lost"}
    a = found.clients["a"]
    assert (a.rounds, a.losses, a.weighed, a.replaced) == (
        [1, 2], {("federated", "t"): 1.0, ("personal", "t"): 0.5}, 1, 0,
    )  # fmt: skip
    assert found.clients["c"].lost == 1


def test_between_rounds_nobody_is_at_work_and_the_last_rounds_say_what_is_left() -> None:
    events = [*EVENTS, {"event": "round_finished", "round": 2, "time": 21.0}]
    found = progress_of(events, 2)
    assert (found.now, found.at_work) == (None, {})
    assert found.seconds == pytest.approx(5.0)
    assert found.seconds_left == 0.0
    found = progress_of([*events, {**update(3, "a", 1.0), "event": "personalised"}], 2)
    assert found.personalised == 1
    assert progress_of([], 3).seconds_left is None
