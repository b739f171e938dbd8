"""What holds for every method between server and clients: what stays at home stays there, and silence does no harm."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from fedtap.algorithms.base import Algorithm, ClientState, ServerState
from fedtap.algorithms.registry import algorithms, make
from fedtap.components import ComponentState
from fedtap.data.loader import ClientData
from fedtap.engines.inprocess import InProcessTransport
from fedtap.federation.checkpoint import Checkpoint
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from tiers import thorough_but
from tiny import AGE, DIGITS, LAW, MEMES, MOOD, REDRAW, TAGS, VQA, build_network, client_data, generator, scenario_of

METHODS = sorted(algorithms())
CLIENTS = {"one": (DIGITS,), "three": (DIGITS, MOOD, LAW), "others": (MEMES, REDRAW, VQA)}
SIZES = {"one": 6, "three": 9, "others": 7}
CLASSIFIERS = ("one", "three")
"""Who is enough where it does not matter what the tasks are: pictures and answers take longest."""


class Spy(InProcessTransport):
    """Keeps all that goes down and comes up. Of ``silent`` clients nothing comes back."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.down: list[Request] = []
        self.up: list[Reply] = []
        self.silent: frozenset[str] = frozenset()

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        self.down += requests
        heard = [request for request in requests if request.client not in self.silent]
        for answer in super().exchange(heard, timeout=timeout):
            assert isinstance(answer, Reply), answer
            self.up.append(answer)
            yield answer
        for request in requests:
            if request.client in self.silent:
                yield Failure(request.client, request.round, "silence")


class Datasets:
    """Where the clients' made-up data are."""

    def client_data(self, client: str) -> ClientData:
        return client_data(CLIENTS[client], SIZES[client])


class House(NamedTuple):
    """A server, the way to its clients, and what these keep."""

    algorithm: Algorithm
    server: Server
    spy: Spy
    store: ClientStore
    site: ClientSite
    events: list[dict[str, Any]]
    clients: tuple[str, ...]

    def round(self, number: int) -> None:
        run_round(self.server, self.spy, self.clients, number, self.events.append)

    def refused(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] in ("failed", "rejected")]

    def state(self, client: str) -> ClientState:
        return self.store.load(client, before=99) or ClientState()


def house(method: str, folder: Path, clients: Sequence[str] = tuple(CLIENTS)) -> House:
    algorithm = make({}, method)
    pairs_of = {client: CLIENTS[client] for client in clients}
    every = tuple(pair for pairs in pairs_of.values() for pair in pairs)
    network = build_network(every, name=algorithm.architecture or "experts", adaptation=adaptation_of(algorithm))
    start_of = network.initial_state
    # Away from the start, at which many tensors are zero: after a step of AdamW from there all numbers of a tensor are plus or
    # minus the rate, and two small tensors may be equal by chance.
    network.initial_state = lambda keys=None: moved(start_of(keys))
    # A rate at which fine-tuning gains: where no step is kept, what is a client's own may be what it was sent, and no secret.
    training = {"lr": 0.01, "warmup_rounds": 1, "finetune_steps": 2, "finetune_lr": 0.001, "select_every": 1}
    scenario = scenario_of(pairs_of, rounds=3, local_steps=2, training=training)
    store, dataset = ClientStore(folder), Datasets()
    site = ClientSite(algorithm=algorithm, network=network, scenario=scenario, seed=0, data=dataset, store=store)
    cards = [
        ClientCard(client, pairs, {pair.task: SIZES[client] for pair in pairs}) for client, pairs in pairs_of.items()
    ]
    architecture = network.architecture
    keys = frozenset().union(*(architecture.plan(pairs) for pairs in pairs_of.values()))
    start = ServerState(network.initial_state(keys).select(algorithm.travels))
    server = Server(algorithm=algorithm, architecture=architecture, state=start, cards=cards)
    return House(algorithm, server, Spy(site, cards), store, site, [], tuple(clients))


def adaptation_of(algorithm: Algorithm) -> str:
    """Return the adaptation that a method brings where a scenario trains whole layers."""
    return algorithm.adaptations.get("full", "full")


def moved(state: ComponentState) -> ComponentState:
    """Return a state plus noise that depends on component and tensor alone."""
    return ComponentState(
        {
            key: {
                name: t + 0.05 * torch.randn(t.shape, generator=generator(str(key), name)) for name, t in named.items()
            }
            for key, named in state.items()
        }
    )


def at_home(algorithm: Algorithm, state: ClientState) -> list[torch.Tensor]:
    """Return what a client keeps and must not send: tensors that do not travel, if they say anything at all."""
    kept = [(key, name, tensor) for model in state.models.values() for key, name, tensor in model.tensors()]
    return [
        tensor
        for key, name, tensor in kept
        if not algorithm.travels(key, name) and tensor.numel() > 1 and float(tensor.std()) > 0
    ]


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_travel_is_in_no_message(method: str, tmp_path: Path) -> None:
    built = house(method, tmp_path)
    private: list[torch.Tensor] = []
    for number in (1, 2):
        built.round(number)
        for client in CLIENTS:
            private += at_home(built.algorithm, built.state(client))
    for client in CLIENTS:
        request = Request(client, 3, "personalise", built.server.slice_for(client))
        (answer,) = built.spy.exchange([request])
        assert isinstance(answer, Reply)
        assert len(answer.update.components) == len(answer.update.vectors) == 0
        private += at_home(built.algorithm, built.state(client))
        found = built.site.models(client, built.server.slice_for(client))
        assert built.algorithm.deployed in found
        assert found.keys() <= built.algorithm.model_names
    assert built.refused() == []
    assert {request.client for request in built.spy.down} == {reply.client for reply in built.spy.up} == set(CLIENTS)
    said = [request.components for request in built.spy.down] + [reply.update.components for reply in built.spy.up]
    stray = [(key, name) for part in said for key, name, _ in part.tensors() if not built.algorithm.travels(key, name)]
    assert stray == []
    carried = {fingerprint(tensor) for part in said for _, _, tensor in part.tensors()}
    carried |= {fingerprint(vector) for reply in built.spy.up for vector in reply.update.vectors.values()}
    assert not carried & {fingerprint(tensor) for tensor in private}
    if any(not built.algorithm.travels(key, name) for key, name, _ in whole(built).tensors()):
        assert private  # something does stay at home, and was looked for


def fingerprint(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def whole(built: House) -> ComponentState:
    """Return every tensor that a client could hold."""
    return build_network(
        tuple(pair for pairs in CLIENTS.values() for pair in pairs),
        name=built.algorithm.architecture or "experts",
        adaptation=adaptation_of(built.algorithm),
    ).initial_state()


def same_state(left: ServerState, right: ServerState, folder: Path) -> bool:
    """Tell whether two states of a server are the same to the last bit, in all that a checkpoint keeps of them."""
    paths = [folder / name for name in ("left", "right")]
    for path, state in zip(paths, (left, right), strict=True):
        Checkpoint(1, state, 0, 0.0).save(path)
    return paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_a_round_without_replies_leaves_the_server_as_it_was(method: str, tmp_path: Path) -> None:
    built = house(method, tmp_path / "clients", CLASSIFIERS)
    built.round(1)
    before = built.server.state
    kept = Checkpoint(1, before, 0, 0.0)
    kept.save(tmp_path / "before")
    built.spy.silent = frozenset(CLASSIFIERS)
    built.round(2)
    assert [event["event"] for event in built.refused()] == ["failed"] * len(CLASSIFIERS)
    assert same_state(built.server.state, before, tmp_path)
    built.server.aggregate([])
    assert same_state(built.server.state, before, tmp_path)
    Checkpoint(1, before, 0, 0.0).save(tmp_path / "after")  # nor was it written to
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    built.spy.silent = frozenset()
    built.round(3)
    assert len(built.refused()) == len(CLASSIFIERS)


@pytest.mark.parametrize("method", METHODS)
def test_one_client_of_many_is_enough_for_a_round(method: str, tmp_path: Path) -> None:
    built = house(method, tmp_path, CLASSIFIERS)
    before = built.server.state
    built.spy.silent = frozenset({"three"})
    built.round(1)
    mine = set(built.server.slice_for("one"))
    for key, name, tensor in built.server.components.tensors():
        if key not in mine:
            assert torch.equal(tensor, before.components[key][name])
    assert [event["client"] for event in built.events if event["event"] == "update"] == ["one"]
    built.spy.silent = frozenset()
    built.round(2)
    assert len(built.refused()) == 1


def test_a_model_that_a_method_does_not_declare_is_named_where_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = house("tap", tmp_path)
    monkeypatch.setattr(type(built.algorithm), "models", lambda self, received, state: {"secret": received})
    with pytest.raises(
        UserError, match="method 'tap': makes a model 'secret', which it does not declare; add it to `beside`"
    ):
        built.site.models("one", built.server.slice_for("one"))


@pytest.mark.parametrize(
    "method",
    thorough_but(("fedavg_ft", "tap"), METHODS),
)
def test_every_method_learns_labels_and_numbers(method: str, tmp_path: Path) -> None:
    """A round and what comes after the last one, for a client with several labels an example and one with a number to predict."""
    algorithm = make({}, method)
    pairs = {"tagger": (TAGS, DIGITS), "gauger": (AGE, DIGITS)}
    every = tuple(pair for own in pairs.values() for pair in own)
    network = build_network(every, name=algorithm.architecture or "experts", adaptation=adaptation_of(algorithm))
    for client, own in pairs.items():
        here = LocalClient(
            client,
            own,
            data=client_data(own, 6),
            network=network,
            scenario=scenario_of(pairs, rounds=2, local_steps=1, training={"finetune_steps": 1, "select_every": 1}),
            seed=0,
            round=2,
            judge=algorithm.params.judge,
        )
        received = here.initial_state()
        update, state = algorithm.local_round(here, received, algorithm.start(here))
        state = algorithm.personalise(here, received, state)
        served = {pair.task for pair in network.architecture.served(own)}
        assert set(update.losses) <= served
        assert all(
            torch.isfinite(torch.tensor(value)) for value in (*update.losses.values(), *update.personal_losses.values())
        )
        assert algorithm.models(received, state)
