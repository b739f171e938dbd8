"""A federation for each set of components: means by hand, what each client is sent, and that no list of methods has it."""

import torch

from fedtap.algorithms.base import ServerState, Update, holders_of
from fedtap.algorithms.fedavg_grouped import FedAvgGrouped
from fedtap.algorithms.registry import algorithms, is_at_hand, make
from fedtap.components import ComponentKey, ComponentState

TRUNK, LEFT, RIGHT = ComponentKey("shared"), ComponentKey("head", ("left",)), ComponentKey("head", ("right",))


def state(**values: float) -> ComponentState:
    keys = {"trunk": TRUNK, "left": LEFT, "right": RIGHT}
    return ComponentState({keys[name]: {"w": torch.tensor([value])} for name, value in values.items()})


def update(count: int, **values: float) -> Update:
    sent = state(**values)
    return Update(sent, dict.fromkeys(sent, count))


def test_each_group_has_its_own_mean_and_all_of_it_are_sent_it() -> None:
    method = make({"name": "fedavg_grouped"})
    assert isinstance(method, FedAvgGrouped)
    server = ServerState(state(trunk=0.0, left=0.0, right=0.0))
    first = method.aggregate(
        server,
        {
            "a": update(1, trunk=2.0, left=4.0),
            "b": update(3, trunk=6.0, left=8.0),
            "c": update(5, trunk=-1.0, right=-2.0),
        },
    )
    left, right = frozenset({TRUNK, LEFT}), frozenset({TRUNK, RIGHT})
    assert first.slice_for("a", left).equal(state(trunk=5.0, left=7.0))  # (2 + 3 * 6) / 4, (4 + 3 * 8) / 4
    assert first.slice_for("never drawn", left).equal(state(trunk=5.0, left=7.0))
    assert first.slice_for("c", right).equal(state(trunk=-1.0, right=-2.0))
    assert first.slice_for("another", frozenset({TRUNK})).equal(state(trunk=0.0))  # nobody with these has trained
    later = method.aggregate(first, {"c": update(1, trunk=3.0, right=4.0)})
    assert later.slice_for("a", left).equal(state(trunk=5.0, left=7.0))
    assert later.slice_for("c", right).equal(state(trunk=3.0, right=4.0))


def test_the_name_of_a_group_goes_by_its_components_alone() -> None:
    assert holders_of([TRUNK, LEFT]) == holders_of([LEFT, TRUNK]) != holders_of([TRUNK, RIGHT])


def test_a_control_is_known_by_its_name_and_in_no_list() -> None:
    assert is_at_hand("fedavg_grouped")
    assert "fedavg_grouped" not in algorithms()
