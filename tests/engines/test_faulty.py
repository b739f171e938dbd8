"""Faults happen as often as is said, repeatably, and training goes on through them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import CARDS, ScriptedTransport, server, sound_reply
from fedtap.algorithms.base import ServerState
from fedtap.algorithms.registry import make
from fedtap.data.loader import ClientData
from fedtap.engines.faulty import SPOILS, Faults, FaultyTransport, spoiled
from fedtap.engines.inprocess import InProcessTransport
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard, Failure, Reply
from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.runtime.errors import UserError
from tiny import DIGITS, MOOD, build_network, client_data, scenario_of

CARD = {card.id: card for card in CARDS}


def honest() -> ScriptedTransport:
    return ScriptedTransport(lambda requests: [sound_reply(request, CARD[request.client]) for request in requests])


def rounds(faults: Faults, number: int, seed: int = 0) -> list[dict[str, Any]]:
    federation, events = server(), []
    transport = FaultyTransport(honest(), faults, seed=seed)
    for round_number in range(1, number + 1):
        run_round(federation, transport, [card.id for card in CARDS], round_number, events.append)
    return events


def kinds(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(event["event"] for event in events)


def test_without_faults_nothing_is_changed() -> None:
    assert kinds(rounds(Faults(), 3)) == {"round_started": 3, "update": 12, "round_finished": 3}


def test_replies_are_lost_as_often_as_is_said() -> None:
    found = kinds(rounds(Faults(drop=0.3), 100))
    assert found["failed"] + found["update"] == 400
    assert found["failed"] / 400 == pytest.approx(0.3, abs=0.06)


def test_what_comes_late_or_twice_is_refused_and_the_first_counts() -> None:
    twice = rounds(Faults(duplicate=1), 2)
    assert kinds(twice) == {"round_started": 2, "update": 8, "rejected": 8, "round_finished": 2}
    assert {event["why"] for event in twice if event["event"] == "rejected"} == {"a second reply to one request"}
    late = rounds(Faults(delay=1), 2)
    assert kinds(late)["failed"] == 8
    assert all("in round 1, asked was" in event["why"] for event in late if event["event"] == "rejected")
    assert kinds(late)["rejected"] == 4


def test_what_befalls_a_reply_follows_from_the_seed() -> None:
    faults = Faults(drop=0.2, delay=0.2, duplicate=0.2, corrupt=0.2)

    def told(seed: int) -> list[tuple[Any, ...]]:
        return [(e["event"], e["round"], e.get("client"), e.get("why")) for e in rounds(faults, 10, seed)]

    assert told(0) == told(0) != told(1)
    assert set(kinds(rounds(faults, 10))) == {"round_started", "update", "rejected", "failed", "round_finished"}


def test_every_way_to_spoil_a_reply_but_a_bit_is_refused() -> None:
    federation = server()
    request = federation.request("a", 1)
    reply = sound_reply(request, CARD["a"])
    assert federation.complaint(reply, request) is None
    whys = {federation.complaint(spoiled(reply, np.random.default_rng(seed)), request) for seed in range(200)}
    refused = {why for why in whys if why}
    for part in ("not finite", "beyond 1e+06", "has shape", "has dtype", "has parameters", "not in the client's plan"):
        assert any(part in why for why in refused), part
    assert None in whys  # a flipped bit of low order is a sound number
    assert len(SPOILS) == 7


@pytest.mark.parametrize("wrong", [{"drop": -0.1}, {"drop": 0.6, "corrupt": 0.6}])
def test_what_are_no_probabilities_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="sum is at most 1"):
        Faults(**wrong)


CLIENTS = {"one": (DIGITS,), "two": (DIGITS, MOOD), "three": (MOOD,)}


class Room:
    def client_data(self, client: str) -> ClientData:
        return client_data(CLIENTS[client], 24)


@pytest.mark.parametrize("method", ["fedavg", "tap"])
def test_training_goes_on_with_three_replies_in_ten_lost(method: str, tmp_path: Path) -> None:
    scenario = scenario_of(CLIENTS, rounds=8, clients_per_round=3)
    algorithm, network = make({}, method), build_network((DIGITS, MOOD))
    store = ClientStore(tmp_path)
    site = ClientSite(algorithm=algorithm, network=network, scenario=scenario, seed=0, data=Room(), store=store)
    cards = [ClientCard(client, pairs, {pair.task: 24 for pair in pairs}) for client, pairs in CLIENTS.items()]
    start = ServerState(network.initial_state())
    federation = Server(algorithm=algorithm, architecture=network.architecture, state=start, cards=cards)
    transport = FaultyTransport(InProcessTransport(site, cards), Faults(drop=0.3), seed=1)
    events: list[dict[str, Any]] = []
    for number in range(1, 9):
        run_round(federation, transport, sorted(CLIENTS), number, events.append)
    assert 4 <= kinds(events)["failed"] <= 12
    for client, pairs in CLIENTS.items():
        at_work = site.local(client, 9)
        before, after = (
            at_work.mean_losses(state.slice(at_work.plan), "test")
            for state in (start.components, federation.components)
        )
        assert all(after[pair.task] < before[pair.task] for pair in pairs)


def test_failures_of_the_other_transport_pass_through() -> None:
    broken = ScriptedTransport(lambda requests: [Failure(r.client, r.round, "down") for r in requests])
    federation = server()
    answers = list(FaultyTransport(broken, Faults(drop=1), seed=0).exchange([federation.request("a", 1)]))
    assert answers == [Failure("a", 1, "down")]
    assert not any(isinstance(answer, Reply) for answer in answers)
