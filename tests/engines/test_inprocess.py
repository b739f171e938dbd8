"""The in-process engine: clients one after another, their states on disk, and what an error at one of them does."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from builders import CARDS, ToyArchitecture, ToyMethod, scenario_of, server
from fedtap.algorithms.base import Algorithm, ClientState
from fedtap.components import ComponentKey
from fedtap.data.loader import ClientData
from fedtap.engines.inprocess import InProcessTransport
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import Failure, Reply, Request
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.network.network import Network
from fedtap.runtime.errors import RunError, UserError
from fedtap.training.client import LocalClient


class NoData:
    """A data room that is never looked into."""

    def client_data(self, client: str) -> ClientData:
        return ClientData({})


class Simulation:
    """A server, a transport and the store behind it."""

    def __init__(self, folder: Path, method: ToyMethod | None = None) -> None:
        self.method = method or ToyMethod()
        self.server: Server = server(algorithm=self.method)
        self.store = ClientStore(folder)
        architecture = ToyArchitecture()
        keys = frozenset().union(*(architecture.plan(card.pairs) for card in CARDS))
        self.site = ClientSite(
            algorithm=self.method,
            network=Network(architecture, keys, seed=0),
            scenario=scenario_of(),
            seed=0,
            data=NoData(),
            store=self.store,
        )
        self.transport = InProcessTransport(self.site, CARDS)

    def exchange(self, clients: str, number: int) -> list[Reply | Failure]:
        return list(self.transport.exchange([self.server.request(client, number) for client in clients]))

    def seen(self, client: str, before: int = 99) -> list[int]:
        state = self.store.load(client, before=before)
        return [] if state is None else state.facts["seen"]


def test_every_request_is_answered_in_the_order_of_the_clients(tmp_path: Path) -> None:
    bench = Simulation(tmp_path)
    answers = bench.exchange("cab", 1)
    assert [answer.client for answer in answers] == ["a", "b", "c"]
    assert all(isinstance(answer, Reply) and answer.round == 1 for answer in answers)
    assert bench.transport.clients() == CARDS


def test_a_reply_is_the_methods_update_without_what_stays_at_home(tmp_path: Path) -> None:
    bench = Simulation(tmp_path)
    request = bench.server.request("a", 3)
    (answer,) = bench.transport.exchange([request])
    assert isinstance(answer, Reply)
    assert answer.update.components.equal(request.components.map(lambda tensor: tensor + 3))
    assert set(answer.update.counts) == set(request.components)
    assert ComponentKey("head", ("own",)) not in answer.update.components
    assert bench.server.complaint(answer, request) is None


def test_a_state_is_carried_from_round_to_round_and_not_from_an_aborted_one(tmp_path: Path) -> None:
    bench = Simulation(tmp_path)
    for number in (1, 3, 3, 4):  # round 3 is asked for again, as after a crash of the server
        bench.exchange("a", number)
    assert bench.seen("a") == [1, 3, 4]
    assert bench.seen("b") == []


def test_an_exception_at_a_client_is_its_failure_alone_and_its_state_stays(tmp_path: Path) -> None:
    bench = Simulation(tmp_path)
    bench.exchange("abc", 1)
    before = (tmp_path / "b" / "round-0001.safetensors").read_bytes()
    bench.method.fails = {"b"}
    answers = bench.exchange("abc", 2)
    assert [type(answer) for answer in answers] == [Reply, Failure, Reply]
    assert answers[1] == Failure("b", 2, "ValueError: two lines")
    assert bench.store.rounds("b") == [1]
    assert (tmp_path / "b" / "round-0001.safetensors").read_bytes() == before
    assert (bench.seen("a"), bench.seen("b"), bench.seen("c")) == ([1, 2], [1], [1, 2])
    bench.method.fails = set()
    bench.exchange("b", 3)
    assert bench.seen("b") == [1, 3]


def test_a_full_disk_at_a_client_is_no_reply_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Simulation(tmp_path)
    bench.exchange("a", 1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="no space left"):
        bench.exchange("a", 2)
    monkeypatch.undo()
    assert bench.seen("a") == [1]


@pytest.mark.parametrize(
    "error", [UserError("mend it"), RunError("disk"), MemoryError()], ids=lambda e: type(e).__name__
)
def test_what_would_hit_every_client_ends_the_run(tmp_path: Path, error: Exception) -> None:
    bench = Simulation(tmp_path, ToyMethod({"a"}, error))
    with pytest.raises(type(error)):
        bench.exchange("ab", 1)


def test_a_personal_model_stays_at_home(tmp_path: Path) -> None:
    bench = Simulation(tmp_path)
    bench.exchange("a", 4)
    request = Request("a", 5, "personalise", bench.server.slice_for("a"))
    (answer,) = bench.transport.exchange([request])
    assert isinstance(answer, Reply)
    assert len(answer.update.components) == len(answer.update.counts) == 0
    state = bench.store.load("a", before=6)
    assert state is not None
    assert state.facts == {"seen": [4], "done": True}
    models = bench.site.models("a", request.components)
    assert set(models) == {"federated", "mine"}
    assert models["mine"].equal(state.models["mine"])
    assert set(bench.site.models("d", bench.server.slice_for("d"))) == {"federated"}  # it never took part


class Plain(ToyMethod):
    """A method that makes nothing of a client after the rounds."""

    personalise = Algorithm.personalise


class Begins(Plain):
    """And one that gives a client a state before its first round."""

    def start(self, client: LocalClient) -> ClientState:
        return ClientState(facts={"seen": []})


def personalised(bench: Simulation, client: str) -> Reply:
    (answer,) = bench.transport.exchange([Request(client, 5, "personalise", bench.server.slice_for(client))])
    assert isinstance(answer, Reply)
    return answer


def test_where_nothing_is_made_of_a_client_nothing_is_written_and_its_models_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ToyMethod().personalises
    assert not Plain().personalises
    bench = Simulation(tmp_path, Plain())
    bench.exchange("a", 4)
    monkeypatch.setattr(ClientStore, "save", lambda *_: pytest.fail("a state was written"))
    for client in "ad":  # d never took part
        answer = personalised(bench, client)
        assert (answer.round, answer.steps, answer.update.decisions) == (5, 0, ())
        assert len(answer.update.components) == 0
    assert set(bench.site.models("a", bench.server.slice_for("a"))) == {"federated", "mine"}
    assert set(bench.site.models("d", bench.server.slice_for("d"))) == {"federated"}
    monkeypatch.undo()
    # what is kept must be whole all the same
    file = tmp_path / "a" / "round-0004.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match="damaged"):
        personalised(bench, "a")


def test_a_state_that_a_method_begins_with_is_kept_though_it_makes_nothing_of_it(tmp_path: Path) -> None:
    bench = Simulation(tmp_path, Begins())
    personalised(bench, "d")
    assert bench.store.rounds("d") == [5]


def test_rounds_in_process_reach_every_client(tmp_path: Path) -> None:
    bench = Simulation(tmp_path)
    start = bench.server.components
    for number in (1, 2):
        answers = bench.exchange("abcd", number)
        bench.server.aggregate([answer for answer in answers if isinstance(answer, Reply)])
    for key, name, tensor in bench.server.components.tensors():
        torch.testing.assert_close(tensor, start[key][name] + 3)  # all added 1, then all added 2
