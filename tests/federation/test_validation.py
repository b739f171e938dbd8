"""Hostile replies, each refused in a line that names the place; honest ones, always accepted."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import CARDS, DIGITS, MOOD, ScriptedTransport, server, sound_reply
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import Reply
from fedtap.federation.rounds import run_round
from fedtap.pairs import path
from fedtap.personalization.decision import Decision

CARD = CARDS[0]  # client a: 30 digits, 10 moods
SHARED, IMAGE, FOREIGN = (
    ComponentKey("shared"),
    ComponentKey("encoder", ("image",)),
    ComponentKey("domain", ("shapes",)),
)
HEAD = ComponentKey("head", ("digits",))
DECISION = Decision("digits", "replace", "kept", 1.0, 2.0, "margin: 0.01")
Change = Callable[[Reply], dict[str, Any]]


def put(key: ComponentKey, **tensors: Any) -> Change:
    """Return a change that replaces (None: removes) parameters of a component of the reply."""

    def change(reply: Reply) -> dict[str, Any]:
        named = {**reply.update.components.get(key, {}), **tensors}
        kept = {name: tensor for name, tensor in named.items() if tensor is not None}
        counts = {**reply.update.counts, key: reply.update.counts.get(key, 1)}
        return {"components": reply.update.components.merge(ComponentState({key: kept})), "counts": counts}

    return change


def one(value: float) -> torch.Tensor:
    """Return a good bias with one bad value in it."""
    return torch.tensor([0.5, value])


def count(value: Any, key: ComponentKey = SHARED) -> Change:
    return lambda reply: {"counts": {**reply.update.counts, key: value}}


def without_count(reply: Reply) -> dict[str, Any]:
    return {"counts": {key: n for key, n in reply.update.counts.items() if key != SHARED}}


def without_component(reply: Reply) -> dict[str, Any]:
    return {"components": reply.update.components.slice(set(reply.update.components) - {SHARED})}


def decision(**changes: Any) -> Change:
    return lambda _: {"decisions": [DECISION, dataclasses.replace(DECISION, **changes)]}


def fixed(**fields: Any) -> Change:
    return lambda _: fields


def vector(value: Any, name: Any = "sketch") -> Change:
    return fixed(vectors={"good": torch.zeros(3), name: value})


HOSTILE: Mapping[str, tuple[Change, str]] = {
    "foreign component": (
        put(FOREIGN, w=one(0)),
        "component 'domain/shapes' is not in the client's plan",
    ),
    "component that does not travel": (
        put(HEAD, w=one(0)),
        "component 'head/digits' is not in the client's plan",
    ),
    "component of no plan": (put(ComponentKey("", ()), w=one(0)), "component '' is not in the client's plan"),
    "wrong shape": (put(IMAGE, bias=torch.zeros(3)), "'encoder/image:bias' has shape (3,), expected (2,)"),
    "transposed": (put(IMAGE, weight=torch.zeros(3, 2)), "'encoder/image:weight' has shape (3, 2), expected (2, 3)"),
    "scalar": (put(IMAGE, bias=torch.zeros(())), "'encoder/image:bias' has shape (), expected (2,)"),
    "double": (
        put(SHARED, bias=torch.zeros(2, dtype=torch.float64)),
        "has dtype torch.float64, expected torch.float32",
    ),
    "integer": (put(SHARED, bias=torch.zeros(2, dtype=torch.int32)), "'shared:bias' has dtype torch.int32"),
    "complex": (put(SHARED, bias=torch.zeros(2, dtype=torch.complex64)), "'shared:bias' has dtype torch.complex64"),
    "missing parameter": (
        put(SHARED, bias=None),
        "component 'shared' has parameters ['weight'], expected ['bias', 'weight']",
    ),
    "extra parameter": (
        put(SHARED, more=one(0)),
        "component 'shared' has parameters ['bias', 'more', 'weight'], expected",
    ),
    "sparse": (put(SHARED, bias=torch.zeros(2).to_sparse()), "'shared:bias' is not a dense tensor"),
    "tensor without values": (put(SHARED, bias=torch.zeros(2, device="meta")), "'shared:bias' is not a dense tensor"),
    "list": (put(SHARED, bias=[0.0, 0.0]), "'shared:bias' is not a dense tensor"),
    "NaN": (put(SHARED, bias=one(math.nan)), "'shared:bias' holds a value that is not finite"),
    "infinite": (put(SHARED, bias=one(math.inf)), "'shared:bias' holds a value that is not finite"),
    "minus infinite": (put(SHARED, bias=one(-math.inf)), "'shared:bias' holds a value that is not finite"),
    "huge": (put(SHARED, bias=one(1.1e6)), "'shared:bias' holds a value beyond 1e+06"),
    "minus huge": (put(SHARED, bias=one(-3e38)), "'shared:bias' holds a value beyond 1e+06"),
    "negative count": (count(-1), "the example count of 'shared' is -1; expected a whole number from 0"),
    "boolean count": (count(True), "the example count of 'shared' is True; expected a whole number from 0"),
    "float count": (count(1.0), "the example count of 'shared' is 1.0; expected a whole number from 0"),
    "NaN count": (count(math.nan), "the example count of 'shared' is nan; expected a whole number from 0"),
    "count in words": (count("many"), "the example count of 'shared' is 'many'; expected a whole number from 0"),
    "count of NumPy": (count(np.int64(3)), "the example count of 'shared' is "),
    "one too many": (count(41), "the example count of 'shared' is 41; the client registered 40"),
    "one too many of one task": (
        count(31, IMAGE),
        "the example count of 'encoder/image' is 31; the client registered 30",
    ),
    "huge count": (count(10**5000), "the example count of 'shared' is beyond 1e+15; expected a whole number"),
    "hugely negative count": (
        count(-(10**5000)),
        "the example count of 'shared' is beyond 1e+15; expected a whole number",
    ),
    "component without count": (without_count, "no example count for component 'shared'"),
    "count without component": (without_component, "an example count for component 'shared', which was not sent"),
    "loss of an unknown task": (fixed(losses={"vqa": 1.0}), "a loss for task 'vqa', which the client does not have"),
    "NaN loss": (fixed(losses={"digits": math.nan}), "the loss of task 'digits' is not a finite number"),
    "infinite loss": (fixed(losses={"digits": -math.inf}), "the loss of task 'digits' is not a finite number"),
    "loss in words": (fixed(losses={"digits": "0.5"}), "the loss of task 'digits' is not a finite number"),
    "absurd loss": (
        fixed(losses={"digits": 1.7e308}),
        "the loss of task 'digits' is not a finite number from 0 to 1e+06",
    ),
    "negative loss": (fixed(personal_losses={"mood": -1}), "the loss of task 'mood' is not a finite number from 0"),
    "decision of a task that is a list": (decision(task=["digits"]), "a decision for a task that the client does not"),
    "decision of an absurd loss": (
        decision(personal_loss=1e7),
        "a loss in a decision for task 'digits' is not a finite number from 0 to 1e+06",
    ),
    "boolean loss": (fixed(losses={"digits": True}), "the loss of task 'digits' is not a finite number"),
    "no loss": (fixed(losses={"digits": None}), "the loss of task 'digits' is not a finite number"),
    "loss beyond floats": (fixed(losses={"digits": 10**400}), "the loss of task 'digits' is not a finite number"),
    "personal NaN loss": (fixed(personal_losses={"mood": math.nan}), "the loss of task 'mood' is not a finite number"),
    "losses as a list": (fixed(losses=[0.5]), "not of the form that was agreed on"),
    "no counts": (fixed(counts=None), "not of the form that was agreed on"),
    "plain components": (fixed(components={SHARED: {}}), "not of the form that was agreed on"),
    "decisions as words": (fixed(decisions="kept"), "not of the form that was agreed on"),
    "decision as a mapping": (
        fixed(decisions=[{"task": "digits"}]),
        "a decision for a task that the client does not have",
    ),
    "decision of an unknown task": (decision(task="vqa"), "a decision for a task that the client does not have"),
    "decision of lines": (decision(outcome="kept\nand"), "a decision for task 'digits' holds no plain words"),
    "decision without end": (decision(rule="x" * 1000), "a decision for task 'digits' holds no plain words"),
    "decision of half a character": (decision(kind="\ud800"), "a decision for task 'digits' holds no plain words"),
    "decision of no words": (decision(rule=3), "a decision for task 'digits' holds no plain words"),
    "decision with a NaN": (
        decision(federated_loss=math.nan),
        "a loss in a decision for task 'digits' is not a finite number",
    ),
    "decision with words": (
        decision(personal_loss="low"),
        "a loss in a decision for task 'digits' is not a finite number",
    ),
    "vectors as a list": (fixed(vectors=[torch.zeros(2)]), "not of the form that was agreed on"),
    "no vectors": (fixed(vectors=None), "not of the form that was agreed on"),
    "vectors without end": (
        fixed(vectors={f"v{i}": torch.zeros(1) for i in range(17)}),
        "17 vectors; expected 16 at the most",
    ),
    "vector without a name": (vector(torch.zeros(2), 3), "a vector without a plain name"),
    "vector of lines": (vector(torch.zeros(2), "two\nlines"), "a vector without a plain name"),
    "vector with a name without end": (vector(torch.zeros(2), "x" * 201), "a vector without a plain name"),
    "vector of NumPy": (vector(np.zeros(2, dtype=np.float32)), "vector 'sketch' is not a dense tensor"),
    "sparse vector": (vector(torch.zeros(2).to_sparse()), "vector 'sketch' is not a dense tensor"),
    "vector without values": (vector(torch.zeros(2, device="meta")), "vector 'sketch' is not a dense tensor"),
    "vector of two axes": (vector(torch.zeros(2, 2)), "vector 'sketch' has shape (2, 2), expected one axis of 100000"),
    "vector of no axis": (vector(torch.zeros(())), "vector 'sketch' has shape (), expected one axis"),
    "long vector": (vector(torch.zeros(100_001)), "vector 'sketch' has shape (100001,), expected one axis of 100000"),
    "vector that only looks long": (
        vector(torch.zeros(1).expand(10**12)),
        "vector 'sketch' has shape (1000000000000,), expected one axis of 100000",
    ),
    "vector of doubles": (
        vector(torch.zeros(2, dtype=torch.float64)),
        "vector 'sketch' has dtype torch.float64, expected torch.float32",
    ),
    "vector with a NaN": (vector(one(math.nan)), "vector 'sketch' holds a value that is not finite"),
    "infinite vector": (vector(one(-math.inf)), "vector 'sketch' holds a value that is not finite"),
    "huge vector": (vector(one(1.1e6)), "vector 'sketch' holds a value beyond 1e+06"),
    "decisions without end": (fixed(decisions=[DECISION] * 1001), "1001 decisions; expected 1000 at the most"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_reply_is_refused_by_its_place_and_leaves_the_server_alone(name: str) -> None:
    change, expected = HOSTILE[name]
    federation = server()
    before = federation.components.clone()
    request = federation.request("a", 3)
    reply = sound_reply(request, CARD, **change(sound_reply(request, CARD)))
    said = federation.complaint(reply, request)
    assert said is not None
    assert expected in said
    assert "\n" not in said
    events: list[dict[str, Any]] = []
    run_round(federation, ScriptedTransport(lambda _: [reply]), ["a"], 3, events.append)
    assert [event["event"] for event in events] == ["round_started", "rejected", "round_finished"]
    assert expected in events[1]["why"]
    assert federation.components.equal(before)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client": "b"}, "answers for client 'b' in round 3, asked was 'a' in 3"),
        ({"round": 2}, "answers for client 'a' in round 2, asked was 'a' in 3"),
        ({"seconds": math.nan}, "the seconds of work are not a finite number from 0"),
        ({"seconds": -1.0}, "the seconds of work are not a finite number from 0"),
        ({"seconds": "1"}, "the seconds of work are not a finite number from 0"),
        ({"steps": 1.5}, "the steps of work are not a whole number from 0"),
        ({"steps": -1}, "the steps of work are not a whole number from 0"),
        ({"steps": True}, "the steps of work are not a whole number from 0"),
        ({"steps": 10**5000}, "the steps of work are not a whole number from 0"),
        ({"update": None}, "the update is not of the form that was agreed on"),
    ],
)
def test_a_reply_that_is_wrong_around_its_update(changes: dict[str, Any], expected: str) -> None:
    federation = server()
    request = federation.request("a", 3)
    reply = dataclasses.replace(sound_reply(request, CARD), **changes)
    assert federation.complaint(reply, request) == expected


FLOATS = st.floats(0, 1e6)
FINITE = st.floats(-1e6, 1e6, width=32)
LOSSES = st.dictionaries(st.sampled_from(["digits", "mood"]), FLOATS | st.integers(0, 9))
WORDS = st.text(
    st.characters(categories=["L", "N", "P", "Zs"], include_characters=" ").filter(str.isprintable), max_size=200
)


VECTORS = st.dictionaries(WORDS, st.lists(FINITE, max_size=4).map(torch.tensor).map(torch.Tensor.float), max_size=16)


@given(st.data())
def test_a_sound_reply_is_always_accepted(data: st.DataObject) -> None:
    federation = server()
    request = federation.request("a", data.draw(st.integers(1, 99)))
    most = dict.fromkeys(request.components, 0)
    for pair in CARD.pairs:
        for key in path(CARD.pairs, pair.task) & set(request.components):
            most[key] += CARD.examples[pair.task]
    chosen = data.draw(st.sets(st.sampled_from(sorted(request.components))))
    value = data.draw(FINITE)
    losses = st.none() | FLOATS
    decisions = st.builds(
        Decision, st.sampled_from(["digits", "mood"]), st.just("replace"), WORDS, losses, losses, WORDS
    )
    reply = sound_reply(
        request,
        CARD,
        components=request.components.slice(chosen).map(lambda tensor: torch.full_like(tensor, value)),
        counts={key: data.draw(st.integers(0, most[key])) for key in chosen},
        losses=data.draw(LOSSES),
        personal_losses=data.draw(LOSSES),
        decisions=data.draw(st.lists(decisions, max_size=3)),
        vectors=data.draw(VECTORS),
    )
    assert federation.complaint(reply, request) is None


def test_the_most_that_a_client_may_claim_is_the_sum_over_the_tasks_of_a_path() -> None:
    federation = server()
    request = federation.request("a", 1)
    assert [pair.task for pair in CARD.pairs] == [DIGITS.task, MOOD.task]
    for key, most in ((SHARED, 40), (IMAGE, 30), (ComponentKey("encoder", ("text",)), 10)):
        counts = sound_reply(request, CARD).update.counts
        assert counts[key] == most
        fewer = sound_reply(request, CARD, counts={**counts, key: most - 1})
        assert federation.complaint(fewer, request) is None
        more = sound_reply(request, CARD, counts={**counts, key: most + 1})
        assert federation.complaint(more, request) is not None


def test_the_longest_vector_that_may_come() -> None:
    federation = server()
    request = federation.request("a", 1)
    most = {f"v{i}": torch.full((100_000,), -1e6) for i in range(16)}
    assert federation.complaint(sound_reply(request, CARD, vectors=most), request) is None


def test_an_empty_update_is_sound() -> None:
    federation = server()
    request = federation.request("b", 1)
    reply = sound_reply(request, CARDS[1], components=ComponentState(), counts={}, losses={})
    assert federation.complaint(reply, request) is None
