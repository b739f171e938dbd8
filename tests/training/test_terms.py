"""What a method adds to the loss: values and gradients by hand, whole anchors and partial ones."""

import pytest
import torch

from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.training.loop import batch_loss
from fedtap.training.terms import Proximal, Teacher
from tiny import DIGITS, MOOD, build_network, jittered, mixed_batch

PAIRS = (DIGITS, MOOD)
SHARED = ComponentKey("shared")


def squared_distance(left: ComponentState, right: ComponentState) -> float:
    """Return the squared distance over the tensors that ``right`` holds, in float64."""
    held = [(left[key][name], tensor) for key, name, tensor in right.tensors()]
    return sum(float((mine.double() - theirs.double()).square().sum()) for mine, theirs in held)


@pytest.mark.parametrize("strength", [0.0, 0.1, 3.0])
def test_a_pull_is_half_its_strength_times_the_squared_distance(strength: float) -> None:
    network = build_network(PAIRS)
    state, anchor = (jittered(network.initial_state(), seed=seed) for seed in (1, 2))
    network.load(state)
    batch = mixed_batch(PAIRS)
    added = batch_loss(network, batch, terms=[Proximal(anchor, strength)]) - batch_loss(network, batch)
    assert float(added.detach()) == pytest.approx(strength / 2 * squared_distance(state, anchor), rel=1e-4, abs=1e-6)


def test_the_gradient_of_a_pull_is_strength_times_the_difference_where_the_anchor_reaches() -> None:
    network = build_network(PAIRS)
    state = jittered(network.initial_state(), seed=1)
    whole = jittered(network.initial_state(), seed=2)
    part = whole.select(lambda key, name: key == SHARED or (key.kind == "encoder" and name == "norm.weight"))
    network.load(state)
    batch = mixed_batch(PAIRS)
    network.zero_grad()
    pull = Proximal(part, 0.7)(network, batch, network(batch))
    pull.backward()
    assert float(pull.detach()) == pytest.approx(0.35 * squared_distance(state, part), rel=1e-5)
    reached = 0
    for key, name, parameter in network.named():
        if key in part and name in part[key]:
            torch.testing.assert_close(parameter.grad, 0.7 * (state[key][name] - part[key][name]))
            reached += 1
        else:
            assert parameter.grad is None
    assert reached == 4  # weight and bias of the projection, one weight of each encoder


def test_an_anchor_may_hold_components_that_the_model_has_not() -> None:
    network = build_network(PAIRS)
    everything = jittered(network.initial_state(), seed=2)
    plan = network.architecture.plan([MOOD])
    state = jittered(network.initial_state(plan), seed=1)
    network.load(state)
    batch = mixed_batch([MOOD])
    outputs = network(batch)
    pulls = [Proximal(anchor, 1.0)(network, batch, outputs) for anchor in (everything, everything.slice(plan))]
    assert pulls[0].item() == pulls[1].item() > 0


def test_no_pull_where_the_model_stands() -> None:
    network = build_network(PAIRS)
    network.load(network.initial_state())
    batch = mixed_batch(PAIRS)
    outputs = network(batch)
    assert Proximal(network.state(), 5.0)(network, batch, outputs).item() == 0.0
    assert Proximal(ComponentState(), 5.0)(network, batch, outputs).item() == 0.0


def test_terms_add_up() -> None:
    network = build_network(PAIRS)
    state, other = (jittered(network.initial_state(), seed=seed) for seed in (1, 2))
    network.load(state)
    batch = mixed_batch(PAIRS)
    terms = [Proximal(other, 0.3), Teacher(other, {"digits": 1.0}), Proximal(network.initial_state(), 0.1)]
    network.load(state)
    plain = batch_loss(network, batch)
    apart = sum(batch_loss(network, batch, terms=[term]) - plain for term in terms)
    torch.testing.assert_close(batch_loss(network, batch, terms=terms) - plain, apart, atol=1e-3, rtol=1e-4)


def test_a_teacher_is_not_taught() -> None:
    network = build_network(PAIRS)
    state, teacher = (jittered(network.initial_state(), seed=seed) for seed in (1, 2))
    kept = teacher.clone()
    network.load(state)
    batch = mixed_batch(PAIRS)
    Teacher(teacher, {"digits": 1.0, "mood": 1.0})(network, batch, network(batch)).backward()
    assert teacher.equal(kept)
    assert all(tensor.grad is None for _, _, tensor in teacher.tensors())
    assert any(parameter.grad is not None for parameter in network.trainable())
