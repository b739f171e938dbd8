"""A federation without learning: components of two tensors, clients that are functions, data that are never looked at."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedtap.algorithms.base import Algorithm, ClientState, Params, ServerState, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.federation.server import Server
from fedtap.network.architecture import Architecture, Blueprint
from fedtap.pairs import Pair, path
from fedtap.runtime.randomness import torch_generator
from fedtap.scenario.scenario import Scenario, build_scenario
from fedtap.training.client import LocalClient

DIGITS = Pair("digits", "classification", "image", "digits")
MOOD = Pair("mood", "classification", "text", "news")
VQA = Pair("vqa", "text_generation", "image+text", "shapes")
REDRAW = Pair("redraw", "reconstruction", "image", "shapes")

CARDS = (
    ClientCard("a", (DIGITS, MOOD), {"digits": 30, "mood": 10}),
    ClientCard("b", (DIGITS,), {"digits": 7}),
    ClientCard("c", (VQA,), {"vqa": 5}),
    ClientCard("d", (MOOD, REDRAW), {"mood": 4, "redraw": 9}),
)
"""Four clients that share some components and each lack some."""


class ToyArchitecture(Architecture):
    """The real plans over components that are one small linear layer each."""

    name = "toy"

    def __init__(self) -> None:
        """Need no blueprint: every component has the same shape."""

    blueprint: Blueprint

    def path(self, pairs: Iterable[Pair], task: str) -> frozenset[ComponentKey]:
        return path(pairs, task)

    def build(self, key: ComponentKey) -> nn.Module:
        return nn.Linear(3, 2)

    def start(self, key: ComponentKey, module: nn.Module, seed: int) -> None:
        generator = torch_generator(seed, "toy", str(key))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, *_: object) -> Any:
        raise AssertionError("nothing in these tests runs the network")


class ToyMethod(Algorithm):
    """Averages everything but heads, which stay at home; a client adds the round's number to what it received."""

    name = "toy"
    summary = "for tests"
    source = "none"
    deployed = "federated"
    beside = ("mine",)

    def __init__(self, fails: Iterable[str] = (), error: Exception | None = None) -> None:
        super().__init__(Params())
        self.fails = set(fails)
        self.error = error or ValueError("two\nlines")

    def travels(self, key: ComponentKey, name: str) -> bool:
        return key.kind != "head"

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        if client.id in self.fails:
            raise self.error
        trained = received.map(lambda tensor: tensor + client.round)
        head = ComponentState({ComponentKey("head", ("own",)): {"weight": torch.zeros(2)}})
        seen = [*state.facts.get("seen", []), client.round]
        counts = dict.fromkeys([*trained, *head], 1)
        return Update(trained.merge(head), counts, dict.fromkeys(client.tasks, 0.5)), ClientState(
            {"mine": trained}, {"seen": seen}
        )

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        return ClientState(state.models, {**state.facts, "done": True})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        return {"federated": received, **state.models}


def components(keys: Iterable[ComponentKey], seed: int = 0) -> ComponentState:
    """Return random values for these keys, ``weight`` (2, 3) and ``bias`` (2,), each a function of seed and key."""
    values = {}
    for key in keys:
        generator = torch_generator(seed, "values", str(key))
        values[key] = {"weight": torch.randn(2, 3, generator=generator), "bias": torch.randn(2, generator=generator)}
    return ComponentState(values)


def server(cards: Sequence[ClientCard] = CARDS, algorithm: Algorithm | None = None) -> Server:
    """Return a server that holds every component of these clients' plans that travels."""
    method, architecture = algorithm or ToyMethod(), ToyArchitecture()
    keys = frozenset().union(*(architecture.plan(card.pairs) for card in cards))
    state = ServerState(components(keys).select(method.travels))
    return Server(algorithm=method, architecture=architecture, state=state, cards=cards)


def sound_reply(request: Request, card: ClientCard, seed: int = 1, **changes: Any) -> Reply:
    """Return an honest answer with random values; ``changes`` replace fields of its update."""
    counts: dict[ComponentKey, int] = {}
    for pair in card.pairs:
        for key in path(card.pairs, pair.task):
            if key in request.components:
                counts[key] = counts.get(key, 0) + card.examples[pair.task]
    fields = {
        "components": components(request.components, seed),
        "counts": counts,
        "losses": {pair.task: 0.25 for pair in card.pairs},
        **changes,
    }
    return Reply(request.client, request.round, Update(**fields), seconds=0.5, steps=2)


class ScriptedTransport:
    """Answers with whatever a function makes of all requests, in the order in which it gives them."""

    def __init__(self, script: Callable[[Sequence[Request]], Iterable[Reply | Failure]]) -> None:
        self._script = script

    def clients(self) -> Sequence[ClientCard]:
        return CARDS

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        yield from self._script(requests)


def scenario_of(cards: Sequence[ClientCard] = CARDS, **settings: Any) -> Scenario:
    """Return a scenario with these clients."""

    def task(pair: Pair) -> dict[str, Any]:
        return {
            "name": pair.task,
            "type": pair.type,
            "modality": pair.modality,
            "domain": pair.domain,
            "source": "none",
        }

    clients = [{"id": card.id, "tasks": [task(pair) for pair in card.pairs]} for card in cards]
    raw = {"name": "toy", "rounds": 4, "clients": clients, **settings}
    return build_scenario(raw, place="toy.yaml", folder=Path())
