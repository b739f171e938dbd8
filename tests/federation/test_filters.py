"""What clients tell of their private steps is believed only where it makes sense; what holders weigh in a mean."""

import pytest
import torch

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.filters import SPENT, restore_values, take_private_steps, weigh_holders
from fedtap.scenario.safety import Weights

KEY = ComponentKey("shared")


def update(*told: float) -> Update:
    return Update(ComponentState(), {}, vectors={SPENT: torch.tensor(told), "other": torch.ones(3)})


def test_what_is_told_is_noted_and_no_method_sees_it() -> None:
    kept, (note,) = take_private_steps({"a": update(4, 0.25)}, {"a": 10})
    assert note == {"event": "private_steps", "client": "a", "steps": 4, "rate": 0.25}
    assert kept["a"].vectors == {}


@pytest.mark.parametrize(
    "told", [(), (4,), (4, 0.25, 1), (11, 0.25), (-1, 0.25), (3.5, 0.25), (4, 0), (4, 1.5), (4, -0.1)]
)
def test_a_claim_that_makes_no_sense_is_counted_as_all_steps_on_all_examples(told: tuple[float, ...]) -> None:
    _, (note,) = take_private_steps({"a": update(*told)}, {"a": 10})
    assert (note["steps"], note["rate"]) == (10, 1.0)
    silent = Update(ComponentState(), {})
    _, (note,) = take_private_steps({"a": silent}, {"a": 10})
    assert (note["steps"], note["rate"]) == (10, 1.0)


def test_what_came_in_full_is_not_touched() -> None:
    given = Update(ComponentState({KEY: {"w": torch.ones(2)}}), {KEY: 1})
    assert restore_values(given, ComponentState({KEY: {"w": torch.zeros(2)}}), "fp32") is given


HEAD = ComponentKey("head", ("a",))
WEIGHTS: tuple[Weights, ...] = ("component", "client", "uniform")


def test_holders_weigh_what_is_asked() -> None:
    given = {"x": Update(ComponentState(), {KEY: 30, HEAD: 10}), "y": Update(ComponentState(), {KEY: 7, HEAD: 0})}
    examples = {"x": 40, "y": 7}
    assert weigh_holders(given, "component", examples) == given
    by_client = weigh_holders(given, "client", examples)
    assert {client: dict(update.counts) for client, update in by_client.items()} == {
        "x": {KEY: 40, HEAD: 40},
        "y": {KEY: 7, HEAD: 0},  # of what it has no example, it has none
    }
    alike = weigh_holders(given, "uniform", examples)
    assert {client: dict(update.counts) for client, update in alike.items()} == {
        "x": {KEY: 1, HEAD: 1},
        "y": {KEY: 1, HEAD: 0},
    }


def test_who_is_drawn_more_often_weighs_less() -> None:
    """In thousandths of examples over chances: 30 / 0.5, 10 / 0.5, and 7 / 0.25."""
    given = {"x": Update(ComponentState(), {KEY: 30, HEAD: 10}), "y": Update(ComponentState(), {KEY: 7, HEAD: 0})}
    chances = {"x": 0.5, "y": 0.25}
    found = {
        how: [dict(update.counts) for update in weigh_holders(given, how, {"x": 40, "y": 7}, chances).values()]
        for how in WEIGHTS
    }
    assert found["component"] == [{KEY: 60_000, HEAD: 20_000}, {KEY: 28_000, HEAD: 0}]
    assert found["client"] == [{KEY: 80_000, HEAD: 80_000}, {KEY: 28_000, HEAD: 0}]
    assert found["uniform"] == [{KEY: 2_000, HEAD: 2_000}, {KEY: 4_000, HEAD: 0}]
