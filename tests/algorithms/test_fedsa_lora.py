"""FedSA-LoRA: two rounds of two clients by hand; A is averaged, B never leaves."""

import torch

from fedtap.algorithms.base import ServerState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from tiny import DIGITS, build_network, local_client

SIZES = {"a": 12, "b": 4}


def client(id: str, number: int, network: object = None) -> LocalClient:
    built = build_network((DIGITS,), adaptation="lora") if network is None else network
    return local_client((DIGITS,), network=built, n=SIZES[id], seed=ord(id), round=number, local_steps=3)


def is_second(name: str) -> bool:
    return name in {"q_w_B", "v_w_B", "up_w_B", "down_w_B"}


def test_two_rounds_are_those_worked_out_by_hand() -> None:
    method, network = make({"name": "fedsa_lora"}), build_network((DIGITS,), adaptation="lora")
    initial = client("a", 1, network).initial_state()
    names = {name for _, name, _ in initial.tensors()}
    assert {name for name in names if not method.travels(next(iter(initial)), name)} == {
        name for name in names if is_second(name)
    }
    assert any(map(is_second, names))
    server = ServerState(initial.select(method.travels))
    states = {id: method.start(client(id, 1, network)) for id in SIZES}
    models = dict.fromkeys(SIZES, initial)  # by hand: each client's whole model
    for number in (1, 2):
        updates = {}
        for id in SIZES:
            received = server.components
            updates[id], states[id] = method.local_round(client(id, number, network), received, states[id])
            models[id] = client(id, number, network).train(models[id], 3, "federated").state
            assert not any(is_second(name) for _, name, _ in updates[id].components.tensors())
        server = method.aggregate(server, updates)
        mean: dict = {}
        for key, name, tensor in models["a"].tensors():
            both = (12 * tensor.double() + 4 * models["b"][key][name].double()) / 16
            mean.setdefault(key, {})[name] = both.float()
        for id in SIZES:
            own = {
                key: {name: t if is_second(name) else mean[key][name] for name, t in named.items()}
                for key, named in models[id].items()
            }
            models[id] = ComponentState(own)
    for key, name, tensor in server.components.tensors():
        torch.testing.assert_close(tensor, models["a"][key][name], atol=1e-6, rtol=0)
    for id in SIZES:
        home = states[id].models["home"]
        assert all(torch.equal(tensor, models[id][key][name]) for key, name, tensor in home.tensors())
    apart = [
        (a, b)
        for (_, name, a), (_, _, b) in zip(models["a"].tensors(), models["b"].tensors(), strict=True)
        if is_second(name)
    ]
    assert all(not torch.equal(a, b) for a, b in apart)


def test_fusion_layers_that_a_scenario_would_train_are_frozen_and_adapted() -> None:
    assert make({"name": "fedsa_lora"}).adaptations == {"full": "lora"}
