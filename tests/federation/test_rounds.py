"""The round loop against transports that behave well and badly."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import CARDS, ScriptedTransport, server, sound_reply
from fedtap.components import ComponentKey
from fedtap.federation.messages import Failure, Reply, Request
from fedtap.federation.rounds import MAX_WHY, report, run_round
from fedtap.federation.server import Server
from fedtap.personalization.decision import Decision
from fedtap.reporting.events import EventLog, read_events

CARD = {card.id: card for card in CARDS}
SHARED = ComponentKey("shared")
Script = Callable[[Sequence[Request]], Iterable[Reply | Failure]]


def honest(request: Request, **changes: Any) -> Reply:
    return sound_reply(request, CARD[request.client], seed=ord(request.client), **changes)


def run(script: Script, clients: str = "abc", number: int = 1) -> tuple[Server, list[dict[str, Any]]]:
    """Return the server after one round and the events of the round."""
    federation, events = server(), list[dict[str, Any]]()
    run_round(federation, ScriptedTransport(script), list(clients), number, events.append)
    return federation, events


def honestly(clients: str) -> Server:
    return run(lambda requests: map(honest, requests), clients)[0]


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def told(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_the_events_of_a_round_are_complete() -> None:
    decision = Decision("digits", "replace", "kept", 1.5, None, "margin: 0.01")

    def script(requests: Sequence[Request]) -> Iterable[Reply | Failure]:
        by_client = {request.client: request for request in requests}
        yield honest(by_client["b"], decisions=[decision], personal_losses={"digits": 0.75})
        yield Failure("c", 4, "ran out of paper")
        yield honest(by_client["a"], losses={"digits": float("nan")})

    federation, events = run(script, number=4)
    sent = federation.slice_for("b")
    assert all(event["round"] == 4 for event in events)
    assert {"seconds"} <= set(events[-1])
    assert events == [
        {"event": "round_started", "round": 4, "clients": ["a", "b", "c"]},
        {
            "event": "update",
            "round": 4,
            "client": "b",
            "examples": 7,
            "losses": {"digits": 0.25},
            "personal_losses": {"digits": 0.75},
            "seconds": 0.5,
            "steps": 2,
            "bytes_down": len(sent) * 32,  # 2 x 3 + 2 float32 values a component
            "bytes_up": len(sent) * 32,
            "components": len(sent),
        },
        {
            "event": "decision",
            "round": 4,
            "client": "b",
            "task": "digits",
            "kind": "replace",
            "outcome": "kept",
            "federated_loss": 1.5,
            "personal_loss": None,
            "rule": "margin: 0.01",
        },
        {"event": "failed", "round": 4, "client": "c", "why": "ran out of paper"},
        {
            "event": "rejected",
            "round": 4,
            "client": "a",
            "why": "the loss of task 'digits' is not a finite number from 0 to 1e+06",
        },
        {"event": "round_finished", "round": 4, "clients": ["b"], "seconds": events[-1]["seconds"]},
    ]


def test_each_client_is_sent_its_own_slice_of_the_server() -> None:
    asked: list[Request] = []
    federation, _ = run(lambda requests: asked.extend(requests) or [], "abcd", 3)  # type: ignore[func-returns-value]
    assert [request.client for request in asked] == list("abcd")
    assert all(request.round == 3 and request.kind == "train" for request in asked)
    assert all(request.components.equal(federation.slice_for(request.client)) for request in asked)


def test_a_failure_leaves_the_others_work() -> None:
    federation, events = run(lambda rs: [honest(r) if r.client != "b" else Failure("b", 1, "no") for r in rs])
    assert federation.components.equal(honestly("ac").components)
    assert events[-1]["clients"] == ["a", "c"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_refused_reply_leaves_no_trace(bad: float) -> None:
    def script(requests: Sequence[Request]) -> Iterable[Reply]:
        for request in requests:
            if request.client == "a":
                components = honest(request).update.components.map(lambda tensor: tensor * 0 + bad)
                yield honest(request, components=components)
            else:
                yield honest(request)

    federation, events = run(script)
    assert federation.components.equal(honestly("bc").components)
    assert [event["client"] for event in told(events, "rejected")] == ["a"]
    assert all(torch.isfinite(tensor).all() for _, _, tensor in federation.components.tensors())


def test_of_two_replies_the_first_counts() -> None:
    def script(requests: Sequence[Request]) -> Iterable[Reply]:
        yield from map(honest, requests)
        yield sound_reply(requests[0], CARD["a"], seed=999)

    federation, events = run(script)
    assert federation.components.equal(honestly("abc").components)
    assert told(events, "rejected") == [
        {"event": "rejected", "round": 1, "client": "a", "why": "a second reply to one request"}
    ]


@pytest.mark.parametrize("stranger", ["d", "nobody"])
def test_a_reply_that_nobody_asked_for_is_refused(stranger: str) -> None:
    def script(requests: Sequence[Request]) -> Iterable[Reply]:
        yield dataclasses.replace(honest(requests[0]), client=stranger)
        yield from map(honest, requests)

    federation, events = run(script)
    assert federation.components.equal(honestly("abc").components)
    assert told(events, "rejected") == [{"event": "rejected", "round": 1, "client": stranger, "why": "nobody asked"}]


def test_a_late_reply_of_another_round_is_refused_and_the_right_one_still_taken() -> None:
    def script(requests: Sequence[Request]) -> Iterable[Reply]:
        yield dataclasses.replace(sound_reply(requests[0], CARD["a"], seed=999), round=1)
        yield from map(honest, requests)

    federation, events = run(script, number=2)
    assert federation.components.equal(honestly("abc").components)
    assert [event["why"] for event in told(events, "rejected")] == [
        "answers for client 'a' in round 1, asked was 'a' in 2"
    ]
    assert events[-1]["clients"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "script",
    [
        lambda requests: [],
        lambda requests: [Failure(request.client, 1, "no") for request in requests],
        lambda requests: [honest(request, counts={}) for request in requests],
    ],
    ids=["silence", "failures", "refusals"],
)
def test_a_round_without_a_sound_reply_does_no_harm(script: Script) -> None:
    federation, events = run(script)
    assert federation.components.equal(server().components)
    assert kinds(events)[-1] == "round_finished"
    assert events[-1]["clients"] == []


@given(st.permutations("abcd"), st.sets(st.sampled_from("abcd")))
def test_the_order_of_replies_is_irrelevant(order: list[str], failing: set[str]) -> None:
    def script(requests: Sequence[Request]) -> Iterable[Reply | Failure]:
        by_client = {request.client: request for request in requests}
        return [Failure(c, 1, "no") if c in failing else honest(by_client[c]) for c in order]

    federation, _ = run(script, "abcd")
    sound = "".join(sorted(set("abcd") - failing))
    assert federation.components.equal(honestly(sound).components if sound else server().components)


def test_what_others_wrote_is_one_short_line_in_the_log(tmp_path: Path) -> None:
    def script(requests: Sequence[Request]) -> Iterable[Reply | Failure]:
        yield Failure("a", 1, "first\nsecond \ud800" + "x" * 10_000)

    _, events = run(script, "a")
    why = told(events, "failed")[0]["why"]
    assert why.startswith("first second ?xxx")
    assert len(why) == MAX_WHY
    with EventLog(tmp_path / "events.jsonl") as log:
        for event in events:
            log(event)
    assert kinds(read_events(tmp_path / "events.jsonl")) == ["round_started", "failed", "round_finished"]


def test_a_personal_model_is_reported_without_what_is_in_it() -> None:
    federation, events = server(), list[dict[str, Any]]()
    request = dataclasses.replace(federation.request("b", 5), kind="personalise")
    decision = Decision("digits", "distil", "kept", 1.0, 2.0, "guard")
    empty = request.components.slice([])
    report(honest(request, components=empty, counts={}, decisions=[decision]), request, events.append)
    assert kinds(events) == ["personalised", "decision"]
    assert (events[0]["bytes_up"], events[0]["components"], events[0]["examples"]) == (0, 0, 0)
    json.dumps(events, allow_nan=False)


@pytest.mark.parametrize(
    "error", [TypeError("unhashable type: 'list'"), RecursionError("too deep"), KeyError("two\nlines")]
)
def test_a_check_that_fails_over_a_reply_has_refused_it(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, events = server(), list[dict[str, Any]]()
    sound = federation.complaint

    def complaint(reply: Reply, request: Request) -> str | None:
        if reply.client == "a":
            raise error
        return sound(reply, request)

    monkeypatch.setattr(federation, "complaint", complaint)
    transport = ScriptedTransport(lambda requests: map(honest, requests))
    run_round(federation, transport, ["a", "b"], 1, events.append)
    (rejected,) = told(events, "rejected")
    assert rejected["client"] == "a"
    assert rejected["why"].startswith(f"cannot be checked ({type(error).__name__}: ")
    assert "\n" not in rejected["why"]
    assert told(events, "round_finished")[0]["clients"] == ["b"]


def test_an_answer_in_the_name_of_a_list_is_refused() -> None:
    _, events = run(lambda requests: [dataclasses.replace(honest(requests[0]), client=["a"])], "a")  # type: ignore[arg-type]
    assert told(events, "rejected") == [{"event": "rejected", "round": 1, "client": "a list", "why": "nobody asked"}]
