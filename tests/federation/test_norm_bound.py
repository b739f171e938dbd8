"""Bounds on how far an update may move a component, by hand, and the events that tell of it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from builders import CARDS, ScriptedTransport, ToyArchitecture, ToyMethod, server, sound_reply
from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.norm_bound import bounded, bounds_of
from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from fedtap.scenario.safety import DefenceSettings, NoiseSettings, PrivacySettings, Safety

KEY, OTHER = ComponentKey("shared"), ComponentKey("head", ("x",))


def state(*values: float) -> ComponentState:
    return ComponentState({KEY: {"w": torch.tensor(values[:1]), "b": torch.tensor(values[1:])}})


SENT = {"a": state(1.0, 1.0), "b": state(1.0, 1.0), "c": state(1.0, 1.0)}


def updates(**states: ComponentState) -> dict[str, Update]:
    return {client: Update(given, dict.fromkeys(given, 1)) for client, given in states.items()}


def test_a_change_of_3_and_4_is_clipped_to_a_norm_of_one() -> None:
    kept, (excess,) = bounded(updates(a=state(4.0, 5.0), b=state(1.5, 1.0)), SENT, DefenceSettings(norm_bound=1))
    assert [float(kept["a"].components[KEY][name]) for name in "wb"] == pytest.approx([1.6, 1.8])
    assert (excess.client, excess.components, excess.norm, excess.bound) == ("a", 1, 5.0, 1.0)
    assert kept["b"].components[KEY]["w"].item() == 1.5  # within the bound nothing is touched


def test_what_is_refused_is_no_holder_any_more() -> None:
    given = updates(a=state(4.0, 5.0).merge(ComponentState({OTHER: {"w": torch.ones(1)}})))
    sent = {"a": SENT["a"].merge(ComponentState({OTHER: {"w": torch.ones(1)}}))}
    kept, _ = bounded(given, sent, DefenceSettings(norm_bound=1, excess="refuse"))
    assert set(kept["a"].components) == set(kept["a"].counts) == {OTHER}


def test_the_relative_bound_is_times_the_median_norm_and_needs_three() -> None:
    settings = DefenceSettings(norm_ratio=2)
    three = {"a": {KEY: 1.0}, "b": {KEY: 3.0}, "c": {KEY: 50.0}}
    assert bounds_of(three, settings) == {KEY: 6.0}
    assert bounds_of({"a": {KEY: 1.0}, "b": {KEY: 3.0}}, settings) == {KEY: float("inf")}
    both = DefenceSettings(norm_ratio=2, norm_bound=5)
    assert bounds_of(three, both) == {KEY: 5.0}


def defending(**settings: Any) -> Server:
    plain = server()
    return Server(
        algorithm=ToyMethod(),
        architecture=ToyArchitecture(),
        state=plain.state,
        cards=CARDS,
        safety=Safety(defence=DefenceSettings(**settings)),
    )


def round_of(federation: Server, blown: str) -> list[dict[str, Any]]:
    """Run a round in which every client sends its slice plus one, and one sends its own plus a thousand."""
    events: list[dict[str, Any]] = []

    def script(requests: Any) -> Any:
        cards = {card.id: card for card in CARDS}
        for request in requests:
            far = 1000.0 if request.client == blown else 1.0
            moved = request.components.map(lambda tensor, far=far: tensor + far)
            yield sound_reply(request, cards[request.client], components=moved)

    run_round(federation, ScriptedTransport(script), [card.id for card in CARDS], 1, events.append)
    return events


@pytest.mark.parametrize(("excess", "what"), [("clip", "clipped"), ("refuse", "left_out")])
def test_the_server_bounds_before_it_averages_and_says_so(excess: str, what: str) -> None:
    federation = defending(norm_bound=10, excess=excess)
    before = federation.components
    events = round_of(federation, "b")
    (told,) = [event for event in events if event["event"] == what]
    assert (told["client"], told["round"], told["bound"]) == ("b", 1, 10)
    assert told["components"] == len(federation.slice_for("b"))
    assert told["norm"] == pytest.approx(1000 * 8**0.5, rel=1e-5)
    furthest = max(float((t - before[key][name]).abs().max()) for key, name, t in federation.components.tensors())
    assert furthest < 10
    assert events.index(told) < len(events) - 1  # within the round


def test_private_steps_are_told_of_updates_that_are_refused_too() -> None:
    federation = Server(
        algorithm=ToyMethod(),
        architecture=ToyArchitecture(),
        state=server().state,
        cards=CARDS,
        safety=Safety(
            defence=DefenceSettings(norm_bound=10, excess="refuse"), privacy=PrivacySettings(local=NoiseSettings())
        ),
    )
    told = [event["client"] for event in round_of(federation, "b") if event["event"] == "private_steps"]
    assert told == [card.id for card in CARDS]


def test_a_client_of_which_nothing_is_left_is_as_if_it_had_not_answered() -> None:
    federation, other = defending(norm_bound=10, excess="refuse"), server()
    round_of(federation, "b")

    def without_b(requests: Any) -> Any:
        cards = {card.id: card for card in CARDS}
        for request in requests:
            moved = request.components.map(lambda tensor: tensor + 1.0)
            yield sound_reply(request, cards[request.client], components=moved)

    run_round(other, ScriptedTransport(without_b), [card.id for card in CARDS if card.id != "b"], 1, lambda event: None)
    assert federation.components.equal(other.components)


def test_nothing_is_told_where_nothing_is_defended() -> None:
    assert {event["event"] for event in round_of(server(), "b")} == {"round_started", "update", "round_finished"}


def test_the_event_of_a_robust_mean_counts_what_too_few_hold() -> None:
    federation = defending(mean="median")
    before = federation.components
    (told,) = [event for event in round_of(federation, "b") if event["event"] == "robust_mean"]
    holders = {key: sum(key in federation.slice_for(card.id) for card in CARDS) for key in federation.components}
    few = [key for key, number in holders.items() if number < 3]
    assert (told["rule"], told["components"], told["too_few_holders"]) == ("median", len(holders) - len(few), len(few))
    assert few
    assert told["components"]  # both kinds occur here, or the test would say nothing
    for key, number in holders.items():
        moved = float((federation.components[key]["bias"] - before[key]["bias"]).max())
        liar = key in federation.slice_for("b")
        assert moved == pytest.approx(500.5 if number == 2 and liar else 1.0, abs=1e-3)


def test_the_counts_of_the_others_are_untouched() -> None:
    given = updates(a=state(4.0, 5.0))
    kept, _ = bounded(given, SENT, DefenceSettings(norm_bound=1))
    assert kept["a"] == replace(given["a"], components=kept["a"].components)


def test_the_event_counts_where_krum_has_fewer_holders_than_its_proof_needs() -> None:
    proven = {}
    for attackers in (0, 1):
        (told,) = [
            event
            for event in round_of(defending(mean="krum", attackers=attackers), "b")
            if event["event"] == "robust_mean"
        ]
        holders = [sum(key in server().slice_for(card.id) for card in CARDS) for key in server().components]
        assert told["unproven"] == sum(3 <= number < 2 * attackers + 3 for number in holders)
        proven[attackers] = told["unproven"]
    assert proven[0] == 0 < proven[1]
