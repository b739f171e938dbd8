"""Parameters that go elsewhere for a gradient, and come back."""

import pytest
import torch

from fedtap.network.network import Network
from fedtap.training.perturbed import perturbed
from tiny import DIGITS, MOOD, build_network, jittered, loss_sum, mixed_batch

PAIRS = (DIGITS, MOOD)


def network_with_model() -> Network:
    network = build_network(PAIRS)
    network.load(jittered(network.initial_state(), scale=0.1))
    return network


def test_the_gradient_is_that_of_the_other_point_and_the_model_is_back_bit_for_bit() -> None:
    network, batch = network_with_model(), mixed_batch(PAIRS)
    here = network.state()
    there = jittered(here, seed=5, scale=0.1)
    with perturbed(network, lambda key, name, parameter: there[key][name]):
        assert network.state().equal(there)
        network.zero_grad(set_to_none=True)
        loss_sum(network, network(batch), batch).backward()
    assert network.state().equal(here)
    found = {(key, name): parameter.grad for key, name, parameter in network.named()}
    network.load(there)
    network.zero_grad(set_to_none=True)
    loss_sum(network, network(batch), batch).backward()
    for key, name, parameter in network.named():
        assert parameter.grad is not None
        assert torch.equal(found[key, name], parameter.grad)


def test_the_model_comes_back_when_something_fails_there() -> None:
    network = network_with_model()
    here = network.state()

    def nowhere(*_: object) -> torch.Tensor:
        raise FloatingPointError("no such place")

    with pytest.raises(FloatingPointError), perturbed(network, lambda key, name, parameter: 2 * parameter):
        raise FloatingPointError("the loss is nan")
    assert network.state().equal(here)
    with pytest.raises(FloatingPointError), perturbed(network, nowhere):
        pass
    assert network.state().equal(here)
