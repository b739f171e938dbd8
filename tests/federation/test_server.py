"""What the server sends and what it takes up."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builders import CARDS, ToyArchitecture, ToyMethod, components, scenario_of, server, sound_reply
from fedtap.algorithms.base import ServerState, Update
from fedtap.components import ComponentKey, ComponentState, weighted_mean
from fedtap.data.loader import ClientData
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard, Reply, Request
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.network.network import Network
from fedtap.pairs import plan

CARD = {card.id: card for card in CARDS}


def replies(federation: Server, clients: Sequence[str], round_number: int = 1) -> list[Reply]:
    return [
        sound_reply(federation.request(client, round_number), CARD[client], seed=number)
        for number, client in enumerate(clients, start=1)
    ]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_client_is_sent_its_plan_and_nothing_else(card: ClientCard) -> None:
    federation = server()
    sent = federation.request(card.id, 2)
    assert (sent.client, sent.round, sent.kind) == (card.id, 2, "train")
    assert set(sent.components) == {key for key in plan(card.pairs) if key.kind != "head"}  # heads do not travel here
    assert set(sent.components) < set(federation.components)
    for key, name, tensor in sent.components.tensors():
        assert torch.equal(tensor, federation.components[key][name])


def test_a_server_that_lacks_a_component_of_a_plan_does_not_pass_over_it() -> None:
    whole = server()
    lacking = whole.components.slice(set(whole.components) - {ComponentKey("encoder", ("image",))})
    federation = Server(algorithm=ToyMethod(), architecture=ToyArchitecture(), state=ServerState(lacking), cards=CARDS)
    with pytest.raises(KeyError, match="encoder"):
        federation.slice_for("a")


def test_a_client_that_never_registered_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        server().slice_for("nobody")


def test_the_next_components_are_the_mean_over_holders_by_hand() -> None:
    federation = server()
    answers = replies(federation, "abd")
    before = federation.components
    federation.aggregate(answers)
    for key, name, tensor in federation.components.tensors():
        held = [
            (answer.update.components[key][name].numpy().astype(np.float64), answer.update.counts[key])
            for answer in answers
            if key in answer.update.components
        ]
        if held:
            expected = np.average([value for value, _ in held], axis=0, weights=[n for _, n in held])
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(tensor, before[key][name])


def test_components_that_nobody_trained_stay_as_they_are_to_the_last_bit() -> None:
    federation = server()
    before = federation.components.clone()
    federation.aggregate(replies(federation, ["b"]))
    mine = set(federation.slice_for("b"))
    others = set(before) - mine
    assert others
    assert federation.components.slice(others).equal(before.slice(others))
    assert all(
        not torch.equal(tensor, before[key][name]) for key, name, tensor in federation.components.slice(mine).tensors()
    )
    assert set(federation.components) == set(before)


@given(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
def test_after_a_round_every_client_is_sent_what_the_server_holds(clients: list[str]) -> None:
    """The authors' fault 1: aggregated weights never reached the clients."""
    federation = server()
    before = federation.components
    federation.aggregate(replies(federation, clients))
    trained = frozenset().union(*(plan(CARD[client].pairs) for client in clients))
    for card in CARDS:
        sent = federation.request(card.id, 2).components
        assert set(sent) == {key for key in plan(card.pairs) if key.kind != "head"}
        for key, name, tensor in sent.tensors():
            assert torch.equal(tensor, federation.components[key][name])
            assert torch.equal(tensor, before[key][name]) == (key not in trained)


def test_the_order_of_replies_is_irrelevant_to_the_last_bit() -> None:
    def answers(federation: Server) -> list[Reply]:
        """Return replies with values 1, 2 and -3 for all: thirds that cancel, or nearly, depending on the order."""
        made = []
        for client, value in (("a", 1.0), ("b", 2.0), ("d", -3.0)):
            request = federation.request(client, 1)
            values = request.components.map(lambda tensor, value=value: torch.full_like(tensor, value))
            counts = dict.fromkeys(values, 1)
            made.append(sound_reply(request, CARD[client], components=values, counts=counts))
        return made

    results, sensitive = [], set()
    for order in itertools.permutations(range(3)):
        federation = server()
        given_order = [answers(federation)[i] for i in order]
        mean = weighted_mean([(answer.update.components, answer.update.counts) for answer in given_order])
        sensitive.add(float(mean[ComponentKey("shared")]["bias"][0]))
        federation.aggregate(given_order)
        results.append(federation.components)
    assert len(sensitive) > 1  # floating-point sums do depend on the order: the server's sorting is what is tested
    assert all(result.equal(results[0]) for result in results[1:])


def test_no_replies_and_empty_replies_change_nothing() -> None:
    federation = server()
    before = federation.components.clone()
    federation.aggregate([])
    assert federation.components.equal(before)
    request = federation.request("a", 1)
    federation.aggregate([sound_reply(request, CARD["a"], components=ComponentState(), counts={})])
    assert federation.components.equal(before)


def test_a_client_that_has_no_example_for_a_component_has_no_say_in_it() -> None:
    federation = server()
    before = federation.components.clone()
    request = federation.request("a", 1)
    none = dict.fromkeys(request.components, 0)
    federation.aggregate([sound_reply(request, CARD["a"], counts=none)])
    assert federation.components.equal(before)


# --- what travels, and what is tailored ----------------------------------------------------------------------------------


class WeightsOnly(ToyMethod):
    """As a method does it that keeps some tensors of a component at home: the biases, and whole heads."""

    def travels(self, key: ComponentKey, name: str) -> bool:
        return key.kind != "head" and name == "weight"


def test_tensors_that_do_not_travel_are_neither_held_nor_sent() -> None:
    federation = server(algorithm=WeightsOnly())
    for card in CARDS:
        sent = federation.request(card.id, 1).components
        assert set(sent) == {key for key in plan(card.pairs) if key.kind != "head"}
        assert {name for _, name, _ in sent.tensors()} == {"weight"}


def test_a_tensor_that_does_not_travel_is_refused_if_it_comes_up() -> None:
    federation = server(algorithm=WeightsOnly())
    request = federation.request("b", 1)
    assert federation.complaint(honest(request), request) is None
    whole = components(request.components, 1)  # with its biases
    said = federation.complaint(sound_reply(request, CARD["b"], components=whole), request)
    assert said is not None
    assert "has parameters ['bias', 'weight'], expected ['weight']" in said


def honest(request: Request) -> Reply:
    """Return an answer that holds what was sent, each value one more."""
    return sound_reply(request, CARD[request.client], components=request.components.map(lambda tensor: tensor + 1))


def test_a_site_sends_up_only_what_travels_and_counts_for_that(tmp_path: Path) -> None:
    algorithm = WeightsOnly()
    federation = server(algorithm=algorithm)
    site = ClientSite(
        algorithm=algorithm,
        network=Network(ToyArchitecture(), [], seed=0),
        scenario=scenario_of(),
        seed=0,
        data=NoData(),
        store=ClientStore(tmp_path),
    )
    request = federation.request("a", 1)
    whole = request.components.overlay(components(request.components, 5).select(lambda _, name: name == "bias"))
    # the hook itself hands over everything it has trained, a head and the biases too
    reply = site.answer(replace(request, components=whole))
    assert {name for _, name, _ in reply.update.components.tensors()} == {"weight"}
    assert set(reply.update.components) == set(reply.update.counts) == set(request.components)
    assert federation.complaint(reply, request) is None


class NoData:
    """Where there is nothing to look at."""

    def client_data(self, client: str) -> ClientData:
        return ClientData({})


def test_a_client_is_sent_what_is_tailored_to_it_and_nobody_else_is() -> None:
    federation = server()
    common = federation.components
    shared, image = ComponentKey("shared"), ComponentKey("encoder", ("image",))
    mine = ComponentState({shared: {"bias": torch.tensor([7.0, 8.0])}, image: {"weight": torch.ones(2, 3)}})
    federation.state = replace(federation.state, tailored={"a": mine})
    sent = {card.id: federation.request(card.id, 2).components for card in CARDS}
    for client in "bcd":
        assert sent[client].equal(common.slice(sent[client]))
    assert set(sent["a"]) == set(server().request("a", 2).components)
    for key, name, tensor in sent["a"].tensors():
        own = key in mine and name in mine[key]
        assert torch.equal(tensor, mine[key][name] if own else common[key][name])
    assert federation.components.equal(common)


def test_what_is_tailored_beyond_a_clients_plan_is_not_sent() -> None:
    federation = server()
    foreign = ComponentKey("domain", ("shapes",))
    assert foreign in federation.components
    federation.state = replace(federation.state, tailored={"b": components([foreign, ComponentKey("shared")], 9)})
    sent = federation.request("b", 2).components
    assert foreign not in sent
    assert sent.slice([ComponentKey("shared")]).equal(components([ComponentKey("shared")], 9))


class Tailor(ToyMethod):
    """Gives every client that answers its own answer back, and counts the rounds."""

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        mine = {client: update.components for client, update in updates.items()}
        facts = {"rounds": server.facts.get("rounds", 0) + 1}
        return replace(server, tailored={**server.tailored, **mine}, facts=facts)


def test_a_method_that_tailors_keeps_for_each_client_what_it_made_of_its_answer() -> None:
    federation = server(algorithm=Tailor())
    first = replies(federation, "ab", 1)
    federation.aggregate(first)
    second = replies(federation, "bd", 2)
    federation.aggregate(second)
    for reply in (first[0], *second):  # b's second answer took the place of its first
        sent = federation.request(reply.client, 3).components
        assert sent.equal(reply.update.components)
    assert federation.request("c", 3).components.equal(server().request("c", 3).components)
    assert federation.state.facts == {"rounds": 2}
    before = federation.state
    federation.aggregate([])
    assert federation.state is before


def test_an_answer_of_vectors_alone_is_aggregated_too() -> None:
    seen: list[float] = []

    class Listener(ToyMethod):
        def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
            seen.extend(float(update.vectors["sketch"].sum()) for update in updates.values())
            return server

    federation = server(algorithm=Listener())
    request = federation.request("b", 1)
    vectors = {"sketch": torch.tensor([1.0, 2.0])}
    reply = sound_reply(request, CARD["b"], components=ComponentState(), counts={}, vectors=vectors)
    assert federation.complaint(reply, request) is None
    federation.aggregate([reply])
    assert seen == [3.0]
