"""The real way of the data on files of the user's own: encoded splits, targets, the cross-client test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedtap.backbones import load_backbone
from fedtap.batch import NO_TOKEN
from fedtap.data.example import Example
from fedtap.data.federated_dataset import KEPT, FederatedDataset
from fedtap.data.images import normalise, resize
from fedtap.data.partition import Partition, partition
from fedtap.data.splits import SPLITS
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario
from tiny import CONCEPTS, DIGITS, LAW, REDRAW, REDRAW_DIGITS, TAGS, TEN_KINDS, VQA, file_scenario, scenario_of

Build = Callable[..., FederatedDataset]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return file_scenario(tmp_path_factory.mktemp("files") / "own")


@pytest.fixture(scope="module")
def shares(scenario: Scenario) -> Partition:
    return partition(scenario, 0)


@pytest.fixture(scope="module")
def build(scenario: Scenario, shares: Partition, tmp_path_factory: pytest.TempPathFactory) -> Build:
    cache = tmp_path_factory.mktemp("cache")

    def made(**changed: object) -> FederatedDataset:
        given = {"scenario": scenario, "partition": shares, "seed": 0, "folder": cache}
        return FederatedDataset(**{**given, "backbone": load_backbone(scenario.backbone), **changed})

    return made


@pytest.fixture(scope="module")
def dataset(build: Build) -> FederatedDataset:
    return build()


def test_every_client_has_its_tasks_in_three_splits(dataset: FederatedDataset, shares: Partition) -> None:
    for client, pairs in TEN_KINDS.items():
        data = dataset.client_data(client)
        assert list(data.tasks) == [pair.task for pair in pairs]
        for pair in pairs:
            for split in SPLITS:
                held = data.tasks[pair.task][split]
                assert held.pair == pair
                assert len(held) == len(shares[client][pair.task][split]) > 0
                assert (held.image is not None) == ("image" in pair.modality)
                assert (held.text is not None) == ("text" in pair.modality)
        assert dataset.examples(client) == {pair.task: data.size(pair.task) for pair in pairs}


def test_features_are_the_towers_of_each_examples_own_input(
    dataset: FederatedDataset, shares: Partition, scenario: Scenario
) -> None:
    backbone = load_backbone(scenario.backbone)
    held = dataset.client_data("c4").tasks["vqa"]["train"]
    for i, example in enumerate(shares["c4"]["vqa"].train):
        (image,) = backbone.vision.encode([example.image.load()])
        (text,) = backbone.text.encode([example.text])
        assert np.array_equal(held.image[i], image.astype(np.float16))
        assert np.array_equal(held.text[i], text.astype(np.float16))


def test_targets_by_task_type(dataset: FederatedDataset, shares: Partition, scenario: Scenario) -> None:
    vocabulary = load_backbone(scenario.backbone).vocabulary
    labels = dataset.client_data("c0").tasks["digits"]["train"].target
    assert labels.dtype == torch.long
    assert labels.tolist() == [example.target for example in shares["c0"]["digits"].train]
    pictures = dataset.client_data("c3").tasks["redraw"]["train"].targets()
    assert pictures.dtype == torch.float32
    for i, example in enumerate(shares["c3"]["redraw"].train):
        assert np.allclose(pictures[i], normalise(resize(example.image.load(), 64)), atol=1e-6)
    answers = dataset.client_data("c6").tasks["law"]["test"].target
    for ids, example in zip(answers.tolist(), shares["c6"]["law"].test, strict=True):
        written = [token for token in ids if token != NO_TOKEN]
        assert ids == written + [NO_TOKEN] * (len(ids) - len(written))
        assert written[-1] == vocabulary.end_id
        assert len(written) <= scenario.network.answer_tokens
        full = vocabulary.encode(example.target, 99)
        assert written[:-1] == full[:-1][: len(written) - 1]


def test_what_was_prepared_is_not_encoded_again(build: Build, tmp_path: Path, scenario: Scenario) -> None:
    told: list[tuple[str, int, int]] = []
    dataset = build(folder=tmp_path, progress=lambda *news: told.append(news))
    dataset.prepare(["c4", "c6"])
    assert {tower for tower, *_ in told} == {"vision", "text"}
    assert all(done <= total for _, done, total in told)
    before = len(told)
    shards = sorted(path.name for path in tmp_path.rglob("*.npy"))
    data = dataset.client_data("c4")
    dataset.prepare(["c6", "c4"])
    assert len(told) == before
    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == shards
    assert data.size("vqa") > 0
    again = build(folder=tmp_path).client_data("c4")
    for mine, theirs in zip(data.tasks["vqa"]["test"].text, again.tasks["vqa"]["test"].text, strict=True):
        assert np.array_equal(mine, theirs)


def test_memory_holds_the_last_few_clients_only(tmp_path: Path) -> None:
    pairs = {f"c{i:02}": (DIGITS,) for i in range(KEPT + 2)}
    many = file_scenario(
        tmp_path / "own", pairs, data={"train": 1, "validation": 1, "test": 1, "split": [0.4, 0.3, 0.3]}
    )
    dataset = FederatedDataset(
        scenario=many,
        partition=partition(many, 0),
        seed=0,
        backbone=load_backbone(many.backbone),
        folder=tmp_path / "cache",
    )
    first = dataset.client_data("c00")
    assert dataset.client_data("c00") is first
    for i in range(1, KEPT):
        dataset.client_data(f"c{i:02}")
    assert dataset.client_data("c00") is first  # seen again just now, so that c01 goes first
    dataset.client_data(f"c{KEPT}")
    assert dataset.client_data("c00") is first
    second = dataset.client_data("c01")
    assert second.size("digits") == 1
    for i in range(2, KEPT + 2):
        dataset.client_data(f"c{i:02}")
    assert dataset.client_data("c00") is not first


def test_the_cross_client_test_asks_what_others_test_on(dataset: FederatedDataset, shares: Partition) -> None:
    (cross,) = dataset.cross("c1", TEN_KINDS["c1"][0], limit=1000)
    assert len(cross) == len(shares["c2"]["mood"].test) + len(shares["c7"]["mood"].test)
    assert cross.pair == TEN_KINDS["c1"][0]
    (few,) = dataset.cross("c1", TEN_KINDS["c1"][0], limit=3)
    assert len(few) == 3
    (again,) = dataset.cross("c1", TEN_KINDS["c1"][0], limit=3)
    assert torch.equal(few.target, again.target)
    assert dataset.cross("c6", LAW, limit=10) == []  # nobody else has it


def test_the_cross_client_test_keeps_other_domains_apart(tmp_path: Path) -> None:
    elsewhere = replace(DIGITS, domain="abroad")
    clients = {"a": (DIGITS,), "b": (DIGITS,), "c": (elsewhere,), "d": (REDRAW_DIGITS,)}
    scenario = file_scenario(tmp_path / "own", clients)
    shares = partition(scenario, 0)
    dataset = FederatedDataset(
        scenario=scenario,
        partition=shares,
        seed=0,
        backbone=load_backbone(scenario.backbone),
        folder=tmp_path / "cache",
    )
    abroad, home = dataset.cross("a", DIGITS, limit=100)
    assert (abroad.pair.domain, home.pair.domain) == ("abroad", "digits")
    assert {abroad.pair.task, home.pair.task} == {"digits"}
    assert (len(abroad), len(home)) == (len(shares["c"]["digits"].test), len(shares["b"]["digits"].test))
    assert dataset.cross("d", REDRAW_DIGITS, limit=100) == []  # the same pictures, but another question


def test_clients_held_out_of_training_are_asked_but_do_not_ask(tmp_path: Path) -> None:
    scenario = file_scenario(tmp_path / "own", {"a": (DIGITS,), "b": (DIGITS,)})
    held_out = scenario.client("b").model_copy(update={"unseen": True})
    scenario = scenario.model_copy(update={"clients": (scenario.client("a"), held_out)})
    shares = partition(scenario, 0)
    dataset = FederatedDataset(
        scenario=scenario,
        partition=shares,
        seed=0,
        backbone=load_backbone(scenario.backbone),
        folder=tmp_path / "cache",
    )
    assert dataset.cross("a", DIGITS, limit=100) == []
    (cross,) = dataset.cross("b", DIGITS, limit=100)
    assert len(cross) == len(shares["a"]["digits"].test)


@pytest.mark.parametrize(
    ("pair", "example", "missing"),
    [
        (VQA, Example("k", None, "what?", "red"), "image"),
        (LAW, Example("k", None, None, "yes"), "text"),
        (CONCEPTS, Example("k", None, "a b", None), "target"),
        (REDRAW, Example("k", None, None, None), "image"),
    ],
)
def test_an_example_that_lacks_what_its_task_needs_is_named(
    dataset: FederatedDataset, pair, example: Example, missing: str
) -> None:
    with pytest.raises(UserError, match=f"task '{pair.task}': an example has no {missing}"):
        dataset.encode(pair, [example])


def test_an_answer_stays_as_it_was_written(dataset: FederatedDataset) -> None:
    """Its token ids are cut to what a model can write, and know the model's words only."""
    long = "Élan 🙂 " + "word " * 60
    held = dataset.encode(LAW, [Example("k", None, "what?", long)])
    assert held.written == (long,)
    assert held.labels().shape[1] < 60


def test_the_order_in_which_clients_are_listed_changes_nothing_abroad(build: Build, scenario: Scenario) -> None:
    turned = scenario.model_copy(update={"clients": scenario.clients[::-1]})
    one, other = build(), build(scenario=turned)
    (here,), (there,) = (data.cross("c1", TEN_KINDS["c1"][0], limit=7) for data in (one, other))
    assert torch.equal(here.labels(), there.labels())
    assert all(np.array_equal(a, b) for a, b in zip(here.text or (), there.text or (), strict=True))


def test_examples_weigh_what_their_class_weighs_but_in_no_test(build: Build, scenario: Scenario) -> None:
    asked = [
        client.model_copy(
            update={
                "tasks": tuple(
                    task.model_copy(update={"class_weights": "balanced"}) if task.name == DIGITS.task else task
                    for task in client.tasks
                )
            }
        )
        for client in scenario.clients
    ]
    dataset = build(scenario=scenario.model_copy(update={"clients": tuple(asked)}))
    client = next(client for client, pairs in TEN_KINDS.items() if DIGITS in pairs and len(pairs) > 1)
    tasks = dataset.client_data(client).tasks
    train, counts = tasks[DIGITS.task]["train"], tasks[DIGITS.task]["train"].labels().bincount()
    expected = len(train) / (int((counts > 0).sum()) * counts[train.labels()])
    torch.testing.assert_close(train.weights, expected)
    assert tasks[DIGITS.task]["validation"].weights is not None
    assert tasks[DIGITS.task]["test"].weights is None
    assert all(
        part.weights is None for task, splits in tasks.items() if task != DIGITS.task for part in splits.values()
    )


def test_the_first_of_several_answers_is_trained_on_and_all_are_right(dataset: FederatedDataset) -> None:
    several = [Example("k", None, "what?", "yes", also=("yeah",)), Example("l", None, "and?", "no")]
    one = [Example("k", None, "what?", "yes"), Example("l", None, "and?", "no")]
    held, plain = dataset.encode(LAW, several), dataset.encode(LAW, one)
    assert torch.equal(held.labels(), plain.labels())
    assert list(held.references) == [("yes", "yeah"), "no"]
    assert list(plain.references) == list(plain.written) == ["yes", "no"]


def test_several_labels_and_numbers_are_targets_of_their_own_kind(build: Build) -> None:
    aged = Pair("age", "regression", "text", "news")
    dataset = build(scenario=scenario_of({"c": [TAGS, aged]}))
    held = [Example("k", None, "a", (0, 2)), Example("l", None, "b", ())]
    assert dataset.encode(TAGS, held).targets().tolist() == [[1, 0, 1], [0, 0, 0]]
    numbers = dataset.encode(aged, [Example("k", None, "a", 75.0), Example("l", None, "b", 110.0)])
    assert numbers.targets().tolist() == pytest.approx([0.5, 1.2])
