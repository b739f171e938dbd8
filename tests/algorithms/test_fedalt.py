"""FedALT: two rounds of three clients by hand; own adapters go on, and each client gets the mean of the others'."""

import torch

from fedtap.algorithms.base import ClientState, ServerState
from fedtap.algorithms.dual import as_own, as_shared, is_gate, is_own, is_shared
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey
from fedtap.training.client import LocalClient
from tiny import DIGITS, MOOD, build_network, jittered, local_client

SIZES = {"a": 12, "b": 4, "c": 8}
TRAINING = {"finetune_steps": 2, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01, "warmup_rounds": 1}


def client(id: str, number: int, network: Network) -> LocalClient:
    settings = {"round": number, "local_steps": 3, "training": TRAINING}
    return local_client((DIGITS,), network=network, n=SIZES[id], seed=ord(id), **settings)


def tensorwise(states: list[ComponentState], weights: list[float]) -> ComponentState:
    total = sum(weights)
    values: dict = {}
    for key, name, _ in states[0].tensors():
        mean = sum(w * state[key][name].double() for w, state in zip(weights, states, strict=True)) / total
        values.setdefault(key, {})[name] = mean.float()
    return ComponentState(values)


def averaged(key: ComponentKey, name: str) -> bool:
    return not (is_own(key, name) or is_shared(key, name) or is_gate(key, name))


def close(a: ComponentState, b: ComponentState) -> None:
    assert [entry[:2] for entry in a.tensors()] == [entry[:2] for entry in b.tensors()]
    for key, name, tensor in a.tensors():
        torch.testing.assert_close(tensor, b[key][name], atol=1e-6, rtol=0)


def test_two_rounds_are_those_worked_out_by_hand() -> None:
    method, network = make({"name": "fedalt"}), build_network((DIGITS,), adaptation="dual", name="plain")
    initial = client("a", 1, network).initial_state()
    server, states = ServerState(initial.select(method.travels)), {}
    mine = dict.fromkeys(SIZES, initial)  # by hand: each client's whole model
    rest = dict.fromkeys(SIZES, initial.select(is_shared))  # and what it is sent of the others
    common = initial.select(averaged)
    heard: dict[str, ComponentState] = {}
    for number, present in ((1, ("a", "b")), (2, ("a", "b", "c"))):
        updates = {}
        for id in present:
            at_work = client(id, number, network)
            received = server.slice_for(id, frozenset(initial))
            close(received, common.overlay(rest[id]))
            state = states.get(id) or method.start(at_work)
            updates[id], states[id] = method.local_round(at_work, received, state)
            start = mine[id].overlay(common).overlay(rest[id])
            trained = client(id, number, network).train(
                start, 3, "federated", only=lambda _, name: "shared" not in name
            )
            mine[id] = trained.state
            assert trained.state.select(is_shared).equal(start.select(is_shared))
            close(updates[id].components.select(is_shared), as_shared(trained.state))
            close(states[id].models["home"], trained.state.select(is_gate))
            assert at_work.steps_taken == 3
        server = method.aggregate(server, updates)
        heard |= {id: as_shared(mine[id]) for id in present}
        common = tensorwise(
            [mine[id].select(averaged) for id in present],
            [float(SIZES[id]) for id in present],
        )
        everyone = tensorwise([heard[id] for id in sorted(heard)], [1.0] * len(heard))
        for id in SIZES:
            others = [heard[other] for other in sorted(heard) if other != id]
            rest[id] = tensorwise(others, [1.0] * len(others)) if id in heard else everyone
        close(server.components, common.overlay(everyone))
    assert (
        len({rest[id][key]["q_w_shared_B"].sum().item() for id in SIZES for key in rest[id] if key.kind == "attention"})
        > 3
    )


def test_who_is_alone_with_a_component_has_nobody_beside() -> None:
    method = make({"name": "fedalt"})
    network = build_network((DIGITS, MOOD), adaptation="dual")
    both = {"one": (DIGITS,), "two": (MOOD,)}
    at_work = {id: local_client(pairs, network=network) for id, pairs in both.items()}
    start = {id: jittered(each.initial_state(), scale=0.1) for id, each in at_work.items()}
    server = ServerState(start["one"].merge(start["two"]).select(method.travels))
    updates = {
        id: method.local_round(each, start[id].select(method.travels), method.start(each))[0]
        for id, each in at_work.items()
    }
    after = method.aggregate(server, updates)
    alone = [key for key in after.tailored["one"] if key not in start["two"]]
    shared = [key for key in after.tailored["one"] if key in start["two"]]
    assert alone
    assert shared
    assert not any(bool(t.any()) for key in alone for t in after.tailored["one"][key].values())
    close(after.tailored["one"].slice(shared), updates["two"].components.select(is_shared).slice(shared))


def test_the_end_tunes_all_but_the_others_and_a_newcomer_first_trains_its_own() -> None:
    method, network = make({"name": "fedalt"}), build_network((DIGITS,), adaptation="dual", name="plain")
    at_work = client("a", 5, network)
    received = jittered(at_work.initial_state(), scale=0.05).select(method.travels)
    new = method.start(at_work)
    known = ClientState({"own": jittered(new.models["own"], scale=0.1), "home": new.models["home"]}, {"trained": True})
    for state, alone in ((known, 0), (new, len(at_work.alone_rates))):
        other = client("a", 5, network)
        done = method.personalise(other, received, state)
        personal = done.models["personal"]
        assert personal.select(is_shared).equal(received.select(is_shared))
        assert not personal.select(is_own).equal(as_own(state.models["own"]))
        assert other.steps_taken == alone + 2
        assert method.models(received, done) == {"personal": personal}
        before = method.models(received, state)["personal"]
        assert before.select(is_own).equal(as_own(state.models["own"]))  # type: ignore[union-attr]
