"""Sharing out synthetic tables; the quickstart's real sources have a file of their own."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtap.data.partition import Partition, partition
from fedtap.data.splits import SPLITS
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, build_scenario

CLASSES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 1,200 rows in four classes of 480, 360, 240 and 120, and one of 30 rows."""
    root = tmp_path_factory.mktemp("tables")
    labels = [name for name, number in zip("abcd", (480, 360, 240, 120), strict=True) for _ in range(number)]
    rows = [{"text": f"row {i}", "label": label, "target": f"answer {i}"} for i, label in enumerate(labels)]
    (root / "large.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "small.jsonl").write_text("\n".join(map(json.dumps, rows[465:495])))
    return root


def task(name: str = "t", **more: Any) -> dict[str, Any]:
    known = {"name": name, "type": "classification", "modality": "text", "domain": "d", "source": "jsonl"}
    known |= {"path": "large.jsonl", "classes": CLASSES} | more
    return {key: value for key, value in known.items() if value is not None}


def scenario(folder: Path, clients: list[dict[str, Any]], **data: Any) -> Scenario:
    return build_scenario({"name": "synthetic", "clients": clients, "data": data}, place="test", folder=folder)


def many(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": "c", "count": count, "tasks": [task(**more)]}]


def sizes(result: Partition) -> dict[str, tuple[int, ...]]:
    return {f"{c}/{t}": tuple(len(s[split]) for split in SPLITS) for c, ts in result.items() for t, s in ts.items()}


@settings(max_examples=25, deadline=None)
@given(
    clients=st.integers(1, 40),
    train=st.integers(1, 80),
    dirichlet=st.sampled_from([0.05, 1.0, 100.0]),
    quantity=st.sampled_from([0.0, 0.8]),
    seed=st.integers(0, 10_000),
)
def test_nothing_is_held_twice_and_splits_are_disjoint(
    folder: Path, clients: int, train: int, dirichlet: float, quantity: float, seed: int
) -> None:
    data = {"train": train, "validation": 3, "test": 6, "dirichlet": dirichlet, "quantity": quantity}
    result = partition(scenario(folder, many(clients), **data), seed)
    held = [(split, example) for tasks in result.values() for split in SPLITS for example in tasks["t"][split]]
    assert len({example.key for _, example in held}) == len(held)
    for tasks in result.values():
        assert 1 <= len(tasks["t"].validation) <= 3
        assert 1 <= len(tasks["t"].test) <= 6
        assert len(tasks["t"].train) < 2 or len({example.target for example in tasks["t"].train}) > 1


def test_content_never_changes_split_between_seeds_and_clients(folder: Path) -> None:
    split_of: dict[str, str] = {}
    for seed in range(5):
        for tasks in partition(scenario(folder, many(7), train=90, test=40), seed).values():
            for split in SPLITS:
                for example in tasks["t"][split]:
                    assert split_of.setdefault(example.key, split) == split


def test_one_text_in_two_tasks_is_in_one_split(folder: Path) -> None:
    answer = task("answer", type="text_generation", classes=None)
    result = partition(scenario(folder, [{"id": "a", "tasks": [task(), answer]}], train=600), 0)
    train = {example.key for example in result["a"]["t"].train}
    assert train & {example.key for example in result["a"]["answer"].train}
    assert not train & {example.key for split in ("validation", "test") for example in result["a"]["answer"][split]}


def test_wanted_sizes_are_met_and_a_tasks_own_sizes_go_first(folder: Path) -> None:
    clients = [
        {"id": "a", "tasks": [task(), task("own", train=11, validation=5, test=7)]},
        {"id": "b", "tasks": [task()]},
    ]
    result = partition(scenario(folder, clients, train=40, validation=20, test=30, quantity=0), 3)
    assert sizes(result) == {"a/t": (40, 20, 30), "a/own": (11, 5, 7), "b/t": (40, 20, 30)}


def test_a_small_source_is_shared_out_evenly(folder: Path) -> None:
    result = partition(scenario(folder, many(3, path="small.jsonl"), train=100, validation=50, test=100, quantity=0), 0)
    found = np.array(list(sizes(result).values()))
    assert found.sum() == 30
    assert (found.max(axis=0) - found.min(axis=0) <= 1).all()


def test_quantity_skew_is_log_normal(folder: Path) -> None:
    def logs(quantity: float) -> np.ndarray:
        result = partition(scenario(folder, many(60), train=10, validation=1, test=1, quantity=quantity), 0)
        return np.log([size[0] / 10 for size in sizes(result).values()])

    assert logs(0.0).tolist() == [0.0] * 60
    assert logs(0.4).std() == pytest.approx(0.4, abs=0.1)
    assert logs(0.4).mean() == pytest.approx(0.0, abs=0.12)


def distance(folder: Path, dirichlet: float) -> float:
    """Return the mean total variation distance of the clients' training labels from the source's."""
    natural = np.array([0.4, 0.3, 0.2, 0.1])
    result = partition(scenario(folder, many(12), train=40, validation=5, test=20, dirichlet=dirichlet, quantity=0), 1)
    rows = [Counter(example.stratum for example in tasks["t"].train) for tasks in result.values()]
    return float(np.mean([np.abs(np.array([row[k] for k in range(4)]) / 40 - natural).sum() / 2 for row in rows]))


def test_label_skew_skews(folder: Path) -> None:
    assert distance(folder, 100.0) < 0.08
    assert distance(folder, 0.1) > 0.3


def test_validation_and_test_follow_the_labels_of_training(folder: Path) -> None:
    # Sizes that the rarest class could serve alone, so that only rounding comes between the splits.
    data = {"train": 30, "validation": 8, "test": 14, "dirichlet": 0.3, "quantity": 0}
    for seed in range(5):
        for tasks in partition(scenario(folder, many(2), **data), seed).values():
            train, validation, test = (Counter(e.stratum for e in tasks["t"][split]) for split in SPLITS)
            for stratum in range(4):
                assert abs(validation[stratum] - 8 * train[stratum] / 30) < 1
                assert abs(test[stratum] - 14 * train[stratum] / 30) < 1


def test_an_order_within_a_split_is_free_of_labels(folder: Path) -> None:
    result = partition(scenario(folder, many(1), train=200, dirichlet=100, quantity=0), 0)
    first = Counter(example.stratum for example in result["c"]["t"].train[:80])
    assert [first[k] / 80 for k in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.16)


def test_the_same_seed_gives_the_same_and_another_another(folder: Path) -> None:
    made = scenario(folder, many(5), train=50)
    assert partition(made, 4) == partition(made, 4)
    assert partition(made, 4) != partition(made, 5)


def test_the_order_of_clients_and_tasks_means_nothing(folder: Path) -> None:
    clients = [{"id": name, "tasks": [task("x"), task("y", train=30)]} for name in ("a", "b", "c")]
    turned = [{"id": client["id"], "tasks": client["tasks"][::-1]} for client in clients[::-1]]
    one, other = (partition(scenario(folder, listed, train=90), 0) for listed in (clients, turned))
    assert list(one) == ["a", "b", "c"]
    assert list(other) == ["c", "b", "a"]
    assert one == other


def test_unseen_clients_draw_from_the_same_pool_without_overlap(folder: Path) -> None:
    clients = [{"id": "a", "tasks": [task()]}, {"id": "u", "unseen": True, "tasks": [task()]}]
    result = partition(scenario(folder, clients, train=300), 0)
    keys = [{example.key for split in SPLITS for example in result[client]["t"][split]} for client in ("a", "u")]
    assert min(map(len, keys)) > 300
    assert not keys[0] & keys[1]


def test_two_spellings_of_a_path_are_one_pool(folder: Path) -> None:
    clients = [{"id": "a", "tasks": [task()]}, {"id": "b", "tasks": [task(path="./large.jsonl")]}]
    result = partition(scenario(folder, clients, train=300), 0)
    keys = [{example.key for example in result[client]["t"].train} for client in ("a", "b")]
    assert not keys[0] & keys[1]


def test_an_empty_split_names_client_task_split_and_mend(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        partition(scenario(folder, many(40, path="small.jsonl"), train=10), 0)
    message = str(error.value)
    assert message.startswith("client 'c-0")
    for part in (
        "task 't'",
        "the train split would be empty",
        "source 'jsonl' has",
        "for 40 client tasks",
        "data.split",
    ):
        assert part in message
    assert "\n" not in message


def test_a_task_that_its_source_cannot_serve_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"task 't', source 'digits': no classification on text here"):
        partition(scenario(folder, many(1, source="digits", path=None, classes=None)), 0)


def test_the_test_split_follows_the_training_that_there_was_not_the_one_asked_for(folder: Path) -> None:
    """With strong skew and a source nearly used up, clients get other classes to train on than they asked for."""
    data = {"train": 80, "validation": 8, "test": 14, "dirichlet": 0.1, "quantity": 0}
    for seed in range(5):
        for tasks in partition(scenario(folder, many(8), **data), seed).values():
            train, validation, test = (Counter(e.stratum for e in tasks["t"][split]) for split in SPLITS)
            size = sum(train.values())
            for stratum in range(4):
                assert abs(validation[stratum] - 8 * train[stratum] / size) <= 1.5
                assert abs(test[stratum] - 14 * train[stratum] / size) <= 1.5
