"""A body and a head small enough to be trained by hand, and a federation of two clients that hold them.

The model is ``head(norm(project(x)))`` on the mean of an image's tokens, without biases. The reference writes forward pass, steps
and averages out on plain tensors; it shares with the package nothing but the batches drawn.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.algorithms.base import Algorithm, ClientState, ServerState
from fedtap.batch import Batch
from fedtap.components import ComponentState
from fedtap.network.architecture import Architecture, TaskOutput
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey, Pair
from fedtap.tasks.base import Fused, Words
from fedtap.training.client import LocalClient
from tiny import CLASSES, DIGITS, SPEC, blueprint, client_data, generator, scenario_of

BODY, HEAD = ComponentKey("encoder", ("image",)), ComponentKey("head", ("digits",))
PLACES = {
    "project": (BODY, "project.weight"),
    "scale": (BODY, "norm.weight"),
    "shift": (BODY, "norm.bias"),
    "head": (HEAD, "weight"),
}
"""What the reference calls a tensor -> its component and name in the package."""
DIM, STEPS = 5, 5
SIZES = {"a": 12, "b": 5}

Model = Mapping[str, Tensor]
Phase = tuple[str, int, Collection[str]]
"""A part of a round: the draw's purpose, the number of steps, and the tensors that move."""


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(SPEC.vision_dim, DIM, bias=False)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.project(x))
        return out


class TwoLayers(Architecture):
    name = "two layers"

    def path(self, pairs: Iterable[Pair], task: str) -> frozenset[ComponentKey]:
        return frozenset((BODY, HEAD))

    def build(self, key: ComponentKey) -> nn.Module:
        return Body() if key == BODY else nn.Linear(DIM, CLASSES, bias=False)

    def start(self, key: ComponentKey, module: nn.Module, seed: int) -> None:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator("two layers", str(key), name)))

    def forward(
        self, batch: Batch, components: Mapping[ComponentKey, nn.Module], frozen: nn.ModuleDict, words: Words | None
    ) -> Sequence[TaskOutput]:
        outputs = []
        for part in batch:
            hidden = components[BODY](part.image.mean(dim=1))
            fused = Fused(hidden[:, None], torch.ones(len(part), 1, dtype=torch.bool))
            outputs.append(TaskOutput(components[HEAD], fused, components[HEAD](hidden)))
        return outputs


def client(id: str, round_number: int, **settings: object) -> LocalClient:
    """Return one of the two clients, with plain gradient steps."""
    training = {
        "optimizer": "sgd",
        "lr": 0.3,
        "warmup_rounds": 1,
        "weight_decay": 0.0,
        "clip": 1e9,
        "finetune_steps": 4,
    }
    scenario = scenario_of(
        dict.fromkeys(SIZES, (DIGITS,)), **{"local_steps": STEPS, "batch_size": 4, "training": training, **settings}
    )
    architecture = TwoLayers(blueprint([DIGITS]))
    return LocalClient(
        id,
        [DIGITS],
        data=client_data([DIGITS], SIZES[id], seed=ord(id)),
        network=Network(architecture, (BODY, HEAD), seed=0),
        scenario=scenario,
        seed=0,
        round=round_number,
    )


class Federated(NamedTuple):
    """Where the server and the clients stand after some rounds."""

    server: ComponentState
    states: Mapping[str, ClientState]


def federate(algorithm: Algorithm, *, rounds: int = 2, clients: Sequence[str] = ("a", "b")) -> Federated:
    """Run rounds in which all these clients take part."""
    first = client(clients[0], 1)
    server = ServerState(first.initial_state().select(algorithm.travels))
    states = {id: algorithm.start(client(id, 1)) for id in clients}
    for number in range(1, rounds + 1):
        updates = {}
        for id in clients:
            received = server.slice_for(id, frozenset(server.components))
            updates[id], states[id] = algorithm.local_round(client(id, number), received, states[id])
        server = algorithm.aggregate(server, updates)
    return Federated(server.components, states)


def by_hand(phases: Sequence[Phase], home: Collection[str], *, rounds: int = 2) -> tuple[Model, Mapping[str, Model]]:
    """Return the travelling tensors after some rounds, and each client's tensors at home."""
    initial = client("a", 1).initial_state()
    start = {name: initial[key][tensor].double() for name, (key, tensor) in PLACES.items()}
    travelling = {name: tensor for name, tensor in start.items() if name not in home}
    kept = {id: {name: start[name] for name in home} for id in SIZES}
    for number in range(1, rounds + 1):
        made: dict[str, dict[str, Tensor]] = {}
        for id in SIZES:
            model, at_work = {**travelling, **kept[id]}, client(id, number)
            for purpose, steps, moving in phases:
                for (part,) in at_work.batches(steps, purpose):
                    model = _step(model, part.image.double().mean(dim=1), part.target, at_work.rate, moving)
            made[id] = model
            kept[id] = {name: model[name] for name in home}
        total = sum(SIZES.values())
        travelling = {name: sum(SIZES[id] * made[id][name] for id in SIZES) / total for name in travelling}
    return travelling, kept


def _step(model: Model, x: Tensor, y: Tensor, rate: float, moving: Collection[str]) -> dict[str, Tensor]:
    leaves = {name: tensor.clone().requires_grad_(name in moving) for name, tensor in model.items()}
    hidden = x @ leaves["project"].T
    normal = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    logits = (normal * leaves["scale"] + leaves["shift"]) @ leaves["head"].T
    F.cross_entropy(logits, y).backward()
    return {name: (leaf - rate * leaf.grad if name in moving else leaf).detach() for name, leaf in leaves.items()}


def difference(federated: Federated, expected: tuple[Model, Mapping[str, Model]]) -> float:
    """Return the greatest difference from what was worked out by hand.

    Raises
    ------
    AssertionError
        If the server holds anything but what travels, or a client's home anything but what stays.
    """
    travelling, kept = expected
    pairs = [(federated.server, travelling)]
    pairs += [(federated.states[id].models["home"], kept[id]) for id in SIZES]
    worst = 0.0
    for state, model in pairs:
        assert {(key, name) for key, name, _ in state.tensors()} == {PLACES[name] for name in model}
        for name, tensor in model.items():
            key, parameter = PLACES[name]
            worst = max(worst, float((state[key][parameter].double() - tensor).abs().max()))
    return worst
