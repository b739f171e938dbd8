"""A site's own data are taken whole and as they are, and shared by those that name one place; the rest is asked for by name."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.data.example import text_key
from fedtap.data.partition import Partition, partition
from fedtap.data.requests import MOST_OWN, most_examples, most_tested
from fedtap.data.site_data import SiteData
from fedtap.data.sources import SOURCES
from fedtap.data.splits import SPLITS, unit
from fedtap.runtime.errors import UserError
from fedtap.scenario.clients import OWN_SOURCES
from fedtap.scenario.data import SIZES
from fedtap.scenario.scenario import Scenario, build_scenario

ROWS, RARE = 1_185, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in two classes, a hundred of them in the rarer one, as CSV and as JSON lines; 60 pictures in two classes."""
    root = tmp_path_factory.mktemp("own")
    rows = [{"text": f"row {i}", "label": "ab"[i < RARE], "target": f"answer {i}"} for i in range(ROWS)]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "rows.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    draw = np.random.default_rng(0)
    for i in range(60):
        path = root / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    (root / "link").symlink_to(root / "pictures")
    return root


def texts(**more: Any) -> dict[str, Any]:
    known = {"name": "t", "type": "classification", "modality": "text", "domain": "d", "source": "csv"}
    return known | {"path": "rows.csv", "classes": ["a", "b"]} | more


def answers(**more: Any) -> dict[str, Any]:
    known = {"name": "q", "type": "text_generation", "modality": "text", "domain": "d", "source": "jsonl"}
    return known | {"path": "rows.jsonl"} | more


def pictures(**more: Any) -> dict[str, Any]:
    known = {"name": "p", "type": "classification", "modality": "image", "domain": "d", "source": "folder"}
    return known | {"path": "pictures", "classes": ["a", "b"]} | more


def redrawn(**more: Any) -> dict[str, Any]:
    known = {"name": "r", "type": "reconstruction", "modality": "image", "domain": "d", "source": "folder"}
    return known | {"path": "pictures"} | more


def scenario(folder: Path, clients: dict[str, list[dict[str, Any]]], **data: Any) -> Scenario:
    listed = [{"id": name, "tasks": tasks} for name, tasks in clients.items()]
    return build_scenario({"name": "own", "clients": listed, "data": data}, place="test", folder=folder)


def sizes(found: Partition) -> dict[str, tuple[int, ...]]:
    return {
        f"{c}/{t}": tuple(len(s[split]) for split in SPLITS) for c, tasks in found.items() for t, s in tasks.items()
    }


def keys(found: Partition, client: str) -> set[str]:
    return {e.key for splits in found[client].values() for split in SPLITS for e in splits[split]}


def mix(found: Partition, client: str, task: str, split: str) -> float:
    held = Counter(example.stratum for example in getattr(found[client][task], split))
    return held[1] / held.total()


@pytest.mark.parametrize(("own", "there"), [(texts(), ROWS), (answers(), ROWS), (pictures(), 60), (redrawn(), 60)])
def test_a_sites_own_data_are_taken_whole(folder: Path, own: dict[str, Any], there: int) -> None:
    for seed in range(3):
        found = partition(scenario(folder, {"a": [own]}), seed)
        assert sum(sizes(found)[f"a/{own['name']}"]) == there
        assert len(keys(found, "a")) == there


def test_every_source_says_rightly_whether_its_data_are_a_sites_own() -> None:
    assert {name for name, each in SOURCES.items() if each.needs_path} == OWN_SOURCES


def test_they_are_taken_in_the_mix_that_they_have_whatever_the_seed(folder: Path) -> None:
    splits = [partition(scenario(folder, {"a": [texts()]}), seed)["a"]["t"] for seed in range(3)]
    for split in SPLITS:
        assert len({frozenset(each[split]) for each in splits}) == 1  # the seed decides on their order alone
        assert mix({"a": {"t": splits[0]}}, "a", "t", split) == pytest.approx(RARE / ROWS, abs=0.04)


@pytest.mark.parametrize("clients", [2, 3, 7])
def test_clients_that_name_one_place_have_even_parts_of_it_in_its_mix(folder: Path, clients: int) -> None:
    names = [f"c{i}" for i in range(clients)]
    found = partition(scenario(folder, {name: [texts()] for name in names}), 0)
    held = [keys(found, name) for name in names]
    assert sum(map(len, held)) == len(set().union(*held)) == ROWS
    for split in range(3):
        parts = [size[split] for size in sizes(found).values()]
        assert max(parts) - min(parts) <= 1
    for name in names:
        assert mix(found, name, "t", "train") == pytest.approx(RARE / ROWS, abs=0.02)


@pytest.mark.parametrize("spelling", ["./pictures", "pictures/../pictures", "link", "absolute"])
def test_no_spelling_of_a_place_makes_it_another(folder: Path, spelling: str) -> None:
    path = str(folder / "pictures") if spelling == "absolute" else spelling
    one, other = (
        partition(scenario(folder, {"a": [pictures()], "b": [pictures(path=path)]}), 0) for path in ("pictures", path)
    )
    assert not keys(other, "a") & keys(other, "b")
    assert len(keys(other, "a") | keys(other, "b")) == 60
    assert sizes(one) == sizes(other)
    if spelling != "link":  # which has a name of its own
        assert keys(one, "a") == keys(other, "a")


def test_who_asks_other_things_of_one_place_shares_it_all_the_same(folder: Path) -> None:
    clients = {
        "a": [pictures(), redrawn()],
        "b": [pictures(name="turned", classes=["b", "a"])],
        "c": [redrawn()],
    }
    for seed in range(3):
        found = partition(scenario(folder, clients), seed)
        held = {name: keys(found, name) for name in clients}
        assert sum(map(len, held.values())) == 60
        assert len(set().union(*held.values())) == 60
        assert all(17 <= len(each) <= 23 for each in held.values())
        # within a client two tasks have the same pictures, in the same splits
        for split in SPLITS:
            first, second = ({e.key for e in found["a"][task][split]} for task in ("p", "r"))
            assert first == second


def test_what_only_one_of_them_can_use_is_its_own(folder: Path) -> None:
    clients = {"a": [pictures(classes=["a", "b"])], "b": [redrawn(path="pictures/a")], "c": [redrawn()]}
    found = partition(scenario(folder, clients), 0)
    assert len(keys(found, "b")) == 30  # another place: its own, as on a machine of its own
    assert not keys(found, "a") & keys(found, "c")


def test_sizes_are_asked_for_by_name_and_the_nearer_name_counts(folder: Path) -> None:
    clients = {"a": [texts(train=20, path="rows.csv")], "b": [answers()], "c": [answers(name="s", test="all", train=7)]}
    asked = scenario(folder, clients, train=50, test=30)
    assert {key: size[::2] for key, size in sizes(partition(asked, 1)).items()} == {
        "a/t": (20, 30),
        "b/q": (50, 30),
        "c/s": (7, len(partition(scenario(folder, {"b": [answers()]}), 0)["b"]["q"].test) - 30),
    }
    assert asked.data.size(asked.client("a").tasks[0], "validation") == "all"


def test_a_sample_that_is_asked_for_has_the_mix_of_the_source_unless_a_mix_is_asked_for(folder: Path) -> None:
    def mixes(seed: int, **data: Any) -> tuple[float, float]:
        found = partition(scenario(folder, {"a": [pictures()]}, train=16, test=5, **data), seed)
        return mix(found, "a", "p", "train"), mix(found, "a", "p", "test")

    for seed in range(6):
        assert all(abs(share - 0.5) < 0.15 for share in mixes(seed))
    skewed = [mixes(seed, dirichlet=0.5) for seed in range(6)]
    assert any(abs(train - 0.5) > 0.3 for train, _ in skewed)
    assert all(abs(train - test) < 0.2 for train, test in skewed)


def test_each_split_is_sampled_in_its_own_mix_and_follows_training_only_where_a_mix_is_asked_for(
    tmp_path: Path,
) -> None:
    rows = []
    for i in range(1_000):
        is_test = unit(text_key(f"row {i}")) >= 0.75
        rows.append({"text": f"row {i}", "label": "ab"[i % 2 if is_test else i % 10 == 0]})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def tested(**data: Any) -> float:
        own = texts(source="jsonl", path="rows.jsonl", train=100, test=60)
        return mix(partition(scenario(tmp_path, {"a": [own]}, **data), 0), "a", "t", "test")

    assert tested() == pytest.approx(0.5, abs=0.08)
    assert tested(dirichlet=1_000) == pytest.approx(0.1, abs=0.08)


def test_a_label_mix_that_is_asked_for_skews_shares_of_the_whole(folder: Path) -> None:
    found = partition(scenario(folder, {name: [texts()] for name in "abcd"}, dirichlet=0.2), 0)
    shares = [mix(found, name, "t", "train") for name in "abcd"]
    assert max(shares) - min(shares) > 0.1
    assert sum(sum(size) for size in sizes(found).values()) == ROWS


def test_quantity_skew_that_is_asked_for_makes_uneven_parts_of_the_whole(folder: Path) -> None:
    found = partition(scenario(folder, {name: [texts()] for name in "abcd"}, quantity=0.8), 0)
    train = [size[0] for size in sizes(found).values()]
    assert max(train) > 1.5 * min(train)
    assert sum(sum(size) for size in sizes(found).values()) == ROWS


def test_a_mix_of_a_place_that_is_shared_for_different_things_is_refused_in_one_line(folder: Path) -> None:
    clients = {"a": [pictures()], "b": [redrawn()]}
    with pytest.raises(UserError, match=r"client 'a', task 'p': others ask other things of pictures.*data\.dirichlet"):
        partition(scenario(folder, clients, dirichlet=0.3), 0)
    partition(scenario(folder, clients, dirichlet=0.3, train=5), 0)  # of a number of examples it can be drawn


def test_a_node_of_a_rehearsal_gets_what_the_whole_federation_gives_it(folder: Path) -> None:
    clients = {"a": [pictures(), redrawn()], "b": [pictures()], "c": [redrawn()], "d": [texts()]}
    made = scenario(folder, clients)
    whole = partition(made, 2)
    for name in clients:
        assert partition(made, 2, SiteData(name, folder, whole=True))[name] == whole[name]


def test_on_its_own_machine_a_client_has_all_of_its_data(folder: Path) -> None:
    made = scenario(folder, {"a": [pictures(), redrawn()], "b": [pictures()]})
    assert len(keys(partition(made, 0, SiteData("b", folder)), "b")) == 60


def test_nothing_is_claimed_to_be_known_of_data_that_are_taken_whole(folder: Path) -> None:
    made = scenario(folder, {"a": [texts(), answers(train=9, test=8)]})
    assert most_tested(made, "a") == {"q": 8}
    assert most_examples(made, 0) == {"a": {"t": MOST_OWN, "q": 9}}


def test_spread_over_a_population_they_are_all_there_and_shared(folder: Path) -> None:
    raw = {"name": "own", "population": 5, "clients": [{"id": "a", "tasks": [texts()]}]}
    made = build_scenario(raw, place="test", folder=folder)
    found = partition(made, 0)
    assert len(found) == 5
    assert sum(sum(size) for size in sizes(found).values()) == ROWS
    again = build_scenario(made.resolved(), place="test", folder=folder)
    assert partition(again, 0) == found


def test_a_scenario_written_out_still_says_what_was_asked_for_and_what_was_not(folder: Path) -> None:
    made = scenario(folder, {"a": [texts()]})
    again = build_scenario(made.resolved(), place="test", folder=folder)
    assert again == made
    assert sum(sizes(partition(again, 0))["a/t"]) == ROWS


def test_built_in_sources_keep_their_sizes_and_skews(folder: Path) -> None:
    digits = {"name": "d", "type": "classification", "modality": "image", "domain": "d", "source": "digits"}
    made = scenario(folder, {"a": [digits]})
    (task,) = made.client("a").tasks
    assert {split: made.data.size(task, split) for split in SPLITS} == SIZES
    assert SIZES == {"train": 128, "validation": 48, "test": 128}
    assert (made.data.label_skew(task), made.data.quantity_skew(task)) == (1.0, 0.15)


@pytest.mark.parametrize("value", [0, -3, "most", 2.5, True, "12"])
def test_a_size_is_a_number_or_all(folder: Path, value: object) -> None:
    for place, raw in (("data.train", {"data": {"train": value}}), ("train", {})):
        more = {} if raw else {"train": value}
        with pytest.raises(UserError, match=rf"'[^']*{place}'.*must be a whole number above 0, or all") as error:
            build_scenario(
                {"name": "own", "clients": [{"id": "a", "tasks": [texts(**more)]}], **raw}, place="test", folder=folder
            )
        assert "\n" not in str(error.value)
