"""Spreading listed clients over a population and dealing their tasks: examples stay in all what they were."""

from collections import Counter
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedtap.runtime.errors import UserError
from fedtap.scenario.population import deal
from fedtap.scenario.scenario import Scenario, build_scenario, load_scenario

SPLITS = ("train", "validation", "test")


def task(name: str, **sizes: int) -> dict[str, Any]:
    return {"name": name, "type": "classification", "modality": "text", "domain": "d", "source": "s", **sizes}


def client(name: str, *tasks: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "tasks": [task(each) for each in tasks], **more}


def build(clients: list[dict[str, Any]], **more: Any) -> Scenario:
    more.setdefault("data", {"train": 120, "validation": 24, "test": 60})
    return build_scenario({"name": "s", "clients": clients, **more}, place="s.yaml", folder=Path())


def held(scenario: Scenario) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return client -> task -> the examples asked for of each split."""
    return {
        client.id: {
            task.name: tuple(getattr(task, split) or getattr(scenario.data, split) for split in SPLITS)
            for task in client.tasks
        }
        for client in scenario.clients
    }


def test_without_either_key_clients_and_sizes_stay_as_listed() -> None:
    scenario = build([client("a", "x", "y"), client("b", "x", count=2)])
    assert held(scenario) == {
        "a": {"x": (120, 24, 60), "y": (120, 24, 60)},
        "b-000": {"x": (120, 24, 60)},
        "b-001": {"x": (120, 24, 60)},
    }
    assert scenario.clients[0].tasks[0].train is None  # so that data.train still says what it is


def test_a_population_by_hand() -> None:
    # Two listed clients make five: three of the first and two of the second; 120 = 3 * 40 = 2 * 60 and 25 = 9 + 8 + 8.
    data = {"train": 120, "validation": 25, "test": 60}
    scenario = build([client("a", "x"), client("b", "y"), client("u", "x", unseen=True)], population=5, data=data)
    assert held(scenario) == {
        "a-000": {"x": (40, 9, 20)},
        "a-001": {"x": (40, 8, 20)},
        "a-002": {"x": (40, 8, 20)},
        "b-000": {"y": (60, 13, 30)},
        "b-001": {"y": (60, 12, 30)},
        "u": {"x": (120, 25, 60)},
    }
    assert len(scenario.participants) == 5


def test_a_count_is_spread_as_so_many_listed_clients() -> None:
    scenario = build([client("a", "x", count=2), client("b", "x")], population=8)
    sizes = held(scenario)
    assert [name for name in sizes if name.startswith("a-")] == [f"a-{i:03d}" for i in range(6)]
    assert {sizes[f"a-{i:03d}"]["x"] for i in range(6)} == {(40, 8, 20)}  # 2 * 120 among six
    assert sizes["b-000"] == sizes["b-001"] == {"x": (60, 12, 30)}


def test_a_task_s_own_sizes_are_shared_out_too() -> None:
    listed = [{"id": "a", "tasks": [task("x", train=9, test=7), task("y")]}]
    sizes = held(build(listed, population=2))
    assert sizes == {
        "a-000": {"x": (5, 12, 4), "y": (60, 12, 30)},
        "a-001": {"x": (4, 12, 3), "y": (60, 12, 30)},
    }


def test_tasks_per_client_by_hand() -> None:
    # Four clients of four tasks hold two each: every task has two holders, who have twice the examples of it.
    scenario = build([client("a", "p", "q", "r", "s", count=4)], tasks_per_client=2)
    assert {name: sorted(tasks) for name, tasks in held(scenario).items()} == {
        "a-000": ["p", "q"],
        "a-001": ["r", "s"],
        "a-002": ["q", "r"],
        "a-003": ["p", "s"],
    }
    assert {size for tasks in held(scenario).values() for size in tasks.values()} == {(240, 48, 120)}


def test_fewer_tasks_than_the_bound_are_all_held_and_unseen_clients_stay_as_listed() -> None:
    listed = [client("a", "p", "q", "r", count=3), client("b", "p"), client("u", "p", "q", "r", unseen=True)]
    scenario = build(listed, tasks_per_client=2)
    tasks = {each.id: len(each.tasks) for each in scenario.clients}
    assert tasks == {"a-000": 2, "a-001": 2, "a-002": 2, "b": 1, "u": 3}
    assert held(scenario)["b"] == {"p": (120, 24, 60)}


@given(clients=st.integers(1, 40), tasks=st.integers(1, 9), data=st.data())
def test_a_deal_is_balanced_and_gives_nobody_a_task_twice(clients: int, tasks: int, data: st.DataObject) -> None:
    each = data.draw(st.integers(1, tasks))
    hands = deal(clients, tasks=tasks, each=each)
    assert all(len(set(hand)) == len(hand) == each for hand in hands)
    holders = Counter(position for hand in hands for position in hand)
    numbers = [holders[position] for position in range(tasks)]
    assert max(numbers) - min(numbers) <= 1


def test_a_deal_puts_different_tasks_together() -> None:
    together = {frozenset(hand) for hand in deal(6, tasks=6, each=2)}
    assert len(together) == 6


@st.composite
def federations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    clients = []
    for index in range(draw(st.integers(1, 4))):
        tasks = draw(st.lists(st.sampled_from("pqrst"), min_size=1, max_size=4, unique=True))
        clients.append(
            client(f"c{index}", *tasks, count=draw(st.integers(1, 5)), unseen=index > 0 and draw(st.booleans()))
        )
    training = [each for each in clients if not each["unseen"]]
    number = sum(each["count"] for each in training)
    keys: dict[str, Any] = {"population": draw(st.one_of(st.none(), st.integers(number, 3 * number)))}
    most = max(len(each["tasks"]) for each in training)
    least = max(ceil(len(each["tasks"]) / each["count"]) for each in training)
    keys["tasks_per_client"] = draw(st.one_of(st.none(), st.integers(least, most)))
    return clients, keys


@given(federations())
def test_examples_in_all_stay_what_they_were(made: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    clients, keys = made

    def totals(scenario: Scenario) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for tasks in held(scenario).values():
            for name, sizes in tasks.items():
                found.update({(name, split): size for split, size in zip(SPLITS, sizes, strict=True)})
        return found

    before, after = build(clients), build(clients, **keys)
    assert totals(after) == totals(before)
    assert len(after.unseen) == len(before.unseen)
    assert len(after.participants) == (keys["population"] or len(before.participants))
    if keys["tasks_per_client"]:
        assert max(len(each.tasks) for each in after.participants) == keys["tasks_per_client"]


@given(federations())
def test_what_was_spread_survives_being_resolved(made: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    clients, keys = made
    scenario = build(clients, **keys)
    resolved = scenario.resolved()
    again = build_scenario(resolved, place="s.yaml", folder=Path())
    assert again == scenario
    assert again.resolved() == resolved


@pytest.mark.parametrize(
    ("clients", "keys", "expected"),
    [
        (
            [client("a", "x", count=3)],
            {"population": 2},
            "population=2 is less than the 3 clients listed; raise it, or list fewer",
        ),
        ([client("a", "x")], {"population": 0}, "'population': Input should be greater than 0"),
        ([client("a", "x")], {"population": True}, "'population': must be a number, not on or off"),
        (
            [client("a", "x", "y"), client("u", "x", "y", "z", unseen=True)],
            {"tasks_per_client": 3},
            "tasks_per_client=3 is more than any client lists; the most is 2",
        ),
        (
            [client("a", "x", "y", "z", count=1)],
            {"tasks_per_client": 2},
            "tasks_per_client=2: it takes 2 clients to hold the 3 tasks of 'a', and there is 1; raise its count, population",
        ),
        (
            [client("a", "x")],
            {"population": 25},
            "client 'a', task 'x': 24 validation examples cannot be shared out among 25 clients; raise data.validation",
        ),
        ([client("a" * 61, "x")], {"population": 2}, "is too long for an id with a number; at most 60"),
        ([client("a", "x"), client("a-001", "x", unseen=True)], {"population": 2}, "client id 'a-001' is used twice"),
    ],
)
def test_what_cannot_be_spread_is_refused(clients: list[dict[str, Any]], keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        build(clients, **keys)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_keys_are_set_from_outside_and_sizes_with_them(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"clients": [client("a", "x", "y", count=2)]}))
    scenario = load_scenario(path, ["data.train=64", "population=4", "tasks_per_client=1"])
    assert [list(tasks) for tasks in held(scenario).values()] == [["x"], ["y"], ["y"], ["x"]]
    assert {task.train for each in scenario.clients for task in each.tasks} == {
        64
    }  # 2 * 64 between the two that hold it
