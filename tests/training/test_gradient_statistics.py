"""A client's look at a model's gradient: exact where all examples are seen, the same every time, and nothing is trained."""

import numpy as np
import pytest
import torch

from fedtap.components import ComponentKey, ComponentState
from fedtap.theory.estimators import Vector
from fedtap.training.client import LocalClient
from fedtap.training.gradient_statistics import STEP, look_at_gradients
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD)


def every(key: ComponentKey, name: str) -> bool:
    return True


def at_work(batch_size: int = 1) -> LocalClient:
    return local_client(PAIRS, batch_size=batch_size)


def flat(state: ComponentState, key: ComponentKey) -> Vector:
    return np.concatenate([tensor.double().reshape(-1).numpy() for _, tensor in sorted(state[key].items())])


@pytest.fixture
def model() -> ComponentState:
    return jittered(at_work().initial_state(), scale=0.1)


def test_all_examples_one_by_one_give_the_gradient_itself(model: ComponentState) -> None:
    client = at_work()
    found = look_at_gradients(at_work, model, every, examples=10_000, curvature=0)
    places = [(task, i) for task in client.tasks for i in range(client.data.size(task))]
    whole = client.gradient(model, client.data.collate(places))
    assert found.gradients.keys() == client.plan
    for key, gradient in found.gradients.items():
        np.testing.assert_allclose(gradient.value, flat(whole, key), atol=1e-6)
        assert gradient.variance == 0
    assert found.taken == len(places)
    assert found.smoothness == 0
    sizes = {task: client.data.size(task) for task in client.tasks}
    means = client.mean_losses(model, "train")
    assert found.loss == pytest.approx(sum(sizes[t] * means[t] for t in sizes) / len(places), rel=1e-5)


def test_a_component_has_the_tasks_that_use_it(model: ComponentState) -> None:
    found = look_at_gradients(at_work, model, every, examples=4, curvature=0).gradients
    assert set(found[ComponentKey("head", ("digits",))].tasks) == {"digits"}
    assert set(found[ComponentKey("shared")].tasks) == {"digits", "mood"}
    assert sum(found[ComponentKey("shared")].shares.values()) == pytest.approx(1)


def test_few_examples_are_two_batches_at_the_least_and_have_noise(model: ComponentState) -> None:
    found = look_at_gradients(lambda: at_work(4), model, every, examples=1, curvature=0)
    assert found.taken == 2 * len(PAIRS)
    gradient = found.gradients[ComponentKey("shared")]
    assert all(seen.count == 2 and seen.size == 4 for seen in gradient.tasks.values())
    assert gradient.variance > 0
    assert gradient.noise > 0


def test_what_stays_at_home_is_not_looked_at(model: ComponentState) -> None:
    found = look_at_gradients(at_work, model, lambda key, name: key.kind != "head", examples=4, curvature=1)
    assert not any(key.kind == "head" for key in found.gradients)


def test_a_client_without_a_shared_look_sees_the_same_again(model: ComponentState) -> None:
    once, again = (look_at_gradients(at_work, model, every, examples=6, curvature=2) for _ in range(2))
    assert once.loss == again.loss
    assert once.smoothness == again.smoothness > 0
    for key, gradient in once.gradients.items():
        np.testing.assert_array_equal(gradient.value, again.gradients[key].value)


def test_the_first_curvature_is_the_change_along_the_gradient(model: ComponentState) -> None:
    found = look_at_gradients(lambda: at_work(8), model, every, examples=1, curvature=1)
    (batch,) = at_work(8).batches(1, "theory curvature")
    here = at_work(8).gradient(model, batch)
    norms = [sum(float(t.square().sum()) for _, _, t in state.tensors()) ** 0.5 for state in (here, model)]
    step = STEP * norms[1]
    moved = model.zip(lambda w, g: w + step / norms[0] * g, here)
    change = at_work(8).gradient(moved, batch).zip(torch.sub, here)
    assert found.smoothness == pytest.approx(
        sum(float(t.square().sum()) for _, _, t in change.tensors()) ** 0.5 / step, rel=1e-3
    )
    more = look_at_gradients(lambda: at_work(8), model, every, examples=1, curvature=4)
    assert more.smoothness >= found.smoothness
    assert more.taken == found.taken + 3


def test_generated_text_has_a_gradient_too() -> None:
    def alone() -> LocalClient:
        return local_client((LAW,), batch_size=4)

    start = jittered(alone().initial_state(), scale=0.1)
    found = look_at_gradients(alone, start, every, examples=8, curvature=0)
    assert found.gradients.keys() == alone().plan
    assert found.loss > 0


def test_a_client_with_few_examples_still_gives_two_batches(model: ComponentState) -> None:
    found = look_at_gradients(lambda: at_work(100), model, every, examples=1, curvature=0)
    gradient = found.gradients[ComponentKey("shared")]
    assert {(seen.count, seen.size, seen.examples) for seen in gradient.tasks.values()} == {(2, 6, 12)}
    assert all(seen.spread > 0 and seen.variance == 0 for seen in gradient.tasks.values())  # all examples were seen
