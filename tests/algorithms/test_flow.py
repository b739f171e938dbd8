"""Flow: a round and the end by hand; local blocks are made anew, and only the global ones and the router are sent."""

import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.dual import as_own, as_shared, is_gate, is_own, is_shared
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from tiny import DIGITS, MOOD, build_network, jittered, local_client

PAIRS = (DIGITS, MOOD)
TRAINING = {"finetune_steps": 5, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01, "warmup_rounds": 1}


def client(steps: int = 5, adaptation: str = "dual") -> LocalClient:
    network = build_network(PAIRS, adaptation=adaptation, name="plain")
    return local_client(PAIRS, network=network, local_steps=steps, training=TRAINING)


def received_by(at_work: LocalClient) -> ComponentState:
    return jittered(at_work.initial_state(), scale=0.05).select(make({"name": "flow"}).travels)


def in_one_adapter(state: ComponentState, like: ComponentState) -> ComponentState:
    return state.select(lambda key, name: name in like[key])


def test_local_blocks_are_those_of_a_model_without_any_other() -> None:
    """The local blocks' steps by hand: low-rank adapters alone, from the global ones, all else frozen."""
    at_work, lora = client(5), client(5, "lora")
    received, like = received_by(at_work), lora.initial_state()
    whole = received.overlay(as_own(received))
    done = make({"name": "flow", "compute": "paper"}).personalise(at_work, received, ClientState())
    expected = lora.finetune(in_one_adapter(whole, like), 5, "local", only=is_own).state
    mixed = whole.overlay(expected.select(is_own))
    tuned = client(5).finetune(mixed, 5, "finish", only=lambda _, name: "shared" not in name)
    for key, name, tensor in done.models["personal"].tensors():
        torch.testing.assert_close(tensor, tuned.state[key][name], atol=1e-4, rtol=1e-3)
    assert done.models["personal"].select(is_shared).equal(received.select(is_shared))
    assert not done.models["personal"].select(is_gate).equal(received.select(is_gate))


@pytest.mark.parametrize(("compute", "steps"), [("equal", (3, 2)), ("paper", (5, 5))])
def test_a_round_trains_local_blocks_then_the_global_ones_and_the_router(compute: str, steps: tuple[int, int]) -> None:
    method, at_work, other = make({"name": "flow", "compute": compute}), client(5), client(5)
    received = received_by(at_work)
    update, state = method.local_round(at_work, received, method.start(at_work))
    whole = received.overlay(as_own(received))
    opened = ComponentState(
        {
            key: {
                n: torch.zeros_like(t) if n == "gate_w" else t * 0 + 40 if n == "gate_b" else t
                for n, t in named.items()
            }
            for key, named in whole.items()
        }
    )
    local = other.train(opened, steps[1], "local", only=is_own).state
    assert local.select(is_shared).equal(whole.select(is_shared))
    trained = other.train(whole.overlay(local.select(is_own)), steps[0], "federated", only=lambda *of: not is_own(*of))
    assert update.components.equal(trained.state.select(method.travels))
    assert not as_shared(trained.state).equal(update.components.select(is_shared))
    assert update.losses == trained.losses
    assert state == ClientState()
    assert at_work.steps_taken == sum(steps)


def test_a_single_step_is_the_global_blocks() -> None:
    method, at_work = make({"name": "flow"}), client(1)
    received = received_by(at_work)
    update, _ = method.local_round(at_work, received, ClientState())
    assert at_work.steps_taken == 1
    assert not update.components.select(is_shared).equal(received.select(is_shared))


def test_the_global_model_is_the_global_blocks_whatever_the_router_says() -> None:
    method, at_work, lora = make({"name": "flow"}), client(), client(5, "lora")
    received = received_by(at_work)
    federated = method.models(received, ClientState())["federated"]
    assert isinstance(federated, ComponentState)
    wanted = lora.mean_losses(in_one_adapter(federated, lora.initial_state()))
    assert at_work.mean_losses(federated) == pytest.approx(wanted, rel=1e-5)
