"""Clustered: averages by hand before and after there are clusters, and who joins which."""

from collections.abc import Mapping

import pytest
import torch

from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey

BODY, HEAD, SECOND = ComponentKey("shared"), ComponentKey("head", ("x",)), ComponentKey("attention", ("mote", "shared"))


def one(key: ComponentKey, *values: float, name: str = "w") -> ComponentState:
    return ComponentState({key: {name: torch.tensor(values)}})


def update(state: ComponentState, count: int = 1) -> Update:
    return Update(state, dict.fromkeys(state, count))


def rounds(server: ServerState, *given: Mapping[str, Update], **params: object) -> ServerState:
    method = make({"name": "clustered", **params})
    for updates in given:
        server = method.aggregate(server, updates)
    return server


def values(state: ComponentState, key: ComponentKey = BODY) -> list[float]:
    return [round(float(value), 5) for tensor in state[key].values() for value in tensor]


def sent(server: ServerState, client: str) -> list[float]:
    return values(server.slice_for(client, frozenset({BODY})))


def test_clusters_are_made_when_it_is_time_and_averaged_apart() -> None:
    start = ServerState(one(BODY, 0.0, 0.0))
    pull = {"a": (1.0, 0.1), "b": (2.0, 0.0), "c": (0.0, 3.0), "d": (0.2, 1.0)}
    first = {"a": update(one(BODY, *pull["a"])), "c": update(one(BODY, *pull["c"]))}
    before = rounds(start, first, together=2)
    assert before.tailored == {}
    assert sent(before, "a") == sent(before, "b") == [0.5, 1.55]  # the mean over both: FedAvg
    w = values(before.components)
    second = {
        "b": update(one(BODY, w[0] + pull["b"][0], w[1] + pull["b"][1]), 1),
        "d": update(one(BODY, w[0] + pull["d"][0], w[1] + pull["d"][1]), 3),
    }
    after = rounds(before, second, together=2)
    assert after.facts["clusters"] == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert sent(after, "a") == sent(after, "b") == [2.5, 1.55]  # b alone was there
    assert sent(after, "c") == sent(after, "d") == [0.7, 2.55]
    assert sent(after, "never heard of") == [round((2.5 + 3 * 0.7) / 4, 5), round((1.55 + 3 * 2.55) / 4, 5)]
    third = {"a": update(one(BODY, 4.0, 0.0), 3), "b": update(one(BODY, 0.0, 4.0), 1)}
    last = rounds(after, third, together=2)
    assert sent(last, "a") == sent(last, "b") == [3.0, 1.0]
    assert sent(last, "c") == [0.7, 2.55]
    assert last.facts["clusters"] == after.facts["clusters"]  # once for all


def test_who_comes_later_joins_the_nearest() -> None:
    start = ServerState(one(BODY, 0.0, 0.0))
    made = rounds(
        start,
        {id: update(one(BODY, *pull)) for id, pull in (("a", (1, 0)), ("b", (1, 0.1)), ("c", (0, 1)), ("d", (0, 2)))},
        together=1,
    )
    was = sent(made, "late")
    after = rounds(made, {"late": update(one(BODY, was[0] + 0.1, was[1] + 5))}, together=1)
    assert after.facts["clusters"]["late"] == after.facts["clusters"]["c"] != after.facts["clusters"]["a"]
    assert sent(after, "late") == sent(after, "c") == [round(was[0] + 0.1, 5), round(was[1] + 5, 5)]


def test_second_factors_alone_decide_where_there_are_any_and_a_client_gets_all_that_it_holds() -> None:
    def model(second: float, other: float) -> ComponentState:
        factors = ComponentState({SECOND: {"q_w_A": torch.tensor([other]), "q_w_B": torch.tensor([second])}})
        return factors.merge(one(HEAD, other))

    start = ServerState(model(0.0, 0.0))
    updates = {id: update(model(*at)) for id, at in (("a", (1, 1)), ("b", (1, -1)), ("c", (-1, 1)), ("d", (-1, -1)))}
    after = rounds(start, updates, together=1)
    assert after.facts["clusters"] == {"a": 0, "b": 0, "c": 1, "d": 1}
    mine = after.slice_for("a", frozenset({SECOND, HEAD}))
    assert float(mine[SECOND]["q_w_B"]) == 1.0
    assert float(mine[HEAD]["w"]) == 0.0
    assert after.tailored["a"].keys() == {SECOND, HEAD}


@pytest.mark.parametrize("most", [1, 4])
def test_where_nobody_disagrees_or_nobody_may_it_is_fedavg(most: int) -> None:
    pulls = {1: ((1, 0), (0, 1), (-1, 0)), 4: ((1, 0), (2, 0), (3, 0))}[most]
    start = ServerState(one(BODY, 0.0, 0.0))
    updates = {f"c{i}": update(one(BODY, *pull), i + 1) for i, pull in enumerate(pulls)}
    after = rounds(start, updates, updates, together=1, most=most)
    plain = make({"name": "fedavg_ft"})
    expected = plain.aggregate(start, updates).components
    assert set(after.facts["clusters"].values()) == {0}
    assert sent(after, "c0") == sent(after, "stranger") == values(expected)
