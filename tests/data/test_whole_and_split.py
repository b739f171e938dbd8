"""A site's own data with a split or groups of their own are taken whole too; what a table may name holds there as well."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.data.partition import Partition, partition
from fedtap.data.requests import requests, shared_places
from fedtap.data.shortfalls import shortfalls
from fedtap.data.site_data import Place, SiteData
from fedtap.data.sources.intake import DataError
from fedtap.data.splits import SPLITS
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, build_scenario

SIZES = {"train": 200, "val": 40, "test": 60}
ROWS = [
    {
        "text": f"row {split} {i}",
        "label": "ab"[i % 10 == 0],
        "target": f"answer {i}",
        "split": split,
        "group": f"{split}{i // 5}",
    }
    for split, size in SIZES.items()
    for i in range(size)
]


def table(path: Path, rows: list[dict[str, Any]], *left_out: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [{key: value for key, value in row.items() if key not in left_out} for row in rows]
    path.write_text("\n".join(map(json.dumps, kept)))


def sorted_by(path: str, **more: Any) -> dict[str, Any]:
    known = {"name": "t", "type": "classification", "modality": "text", "domain": "d", "source": "jsonl"}
    return known | {"path": path, "classes": ["a", "b"]} | more


def answered(path: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": "q",
        "type": "text_generation",
        "modality": "text",
        "domain": "d",
        "source": "jsonl",
        "path": path,
    } | more


def scenario(folder: Path, clients: dict[str, list[dict[str, Any]]], **data: Any) -> Scenario:
    listed = [{"id": name, "tasks": tasks} for name, tasks in clients.items()]
    return build_scenario({"name": "own", "clients": listed, "data": data}, place="test", folder=folder)


def texts(found: Partition, client: str, split: str) -> set[str]:
    return {str(example.text) for splits in found[client].values() for example in getattr(splits, split)}


def of_split(word: str) -> set[str]:
    return {row["text"] for row in ROWS if row["split"] == word}


@pytest.mark.parametrize("seed", [0, 7])
def test_a_split_of_ones_own_is_taken_whole_and_shared_within_each_part(tmp_path: Path, seed: int) -> None:
    table(tmp_path / "rows.jsonl", ROWS)
    alone = partition(scenario(tmp_path, {"a": [sorted_by("rows.jsonl")]}), seed)
    for split, word in zip(SPLITS, SIZES, strict=True):
        assert texts(alone, "a", split) == of_split(word)
    made = scenario(
        tmp_path, {"a": [sorted_by("rows.jsonl")], "b": [answered("rows.jsonl")], "c": [sorted_by("rows.jsonl")]}
    )
    shared = partition(made, seed)
    for split, word in zip(SPLITS, SIZES, strict=True):
        held = [texts(shared, client, split) for client in "abc"]
        assert set.union(*held) == of_split(word)
        assert sum(map(len, held)) == SIZES[word]  # nobody holds what another does
        assert max(map(len, held)) - min(map(len, held)) <= 2
        rare = sum(example.target == 1 for client in "ac" for example in getattr(shared[client]["t"], split))
        assert rare / sum(len(getattr(shared[client]["t"], split)) for client in "ac") == pytest.approx(0.1, abs=0.03)
    assert shortfalls(made, shared, seed) == {}


def test_groups_are_taken_whole_and_are_on_one_side_at_every_client(tmp_path: Path) -> None:
    table(tmp_path / "rows.jsonl", ROWS, "split")
    made = scenario(tmp_path, {"a": [sorted_by("rows.jsonl")], "b": [answered("rows.jsonl")]})
    shared = partition(made, 0)
    sides: dict[str, set[str]] = {}
    number: Counter[str] = Counter()
    for client in "ab":
        for splits in shared[client].values():
            for split in SPLITS:
                for example in splits[split]:
                    sides.setdefault(str(example.group), set()).add(split)
                    number[example.key] += 1
    assert len(number) == number.total() == len(ROWS)
    assert all(len(each) == 1 for each in sides.values())
    assert {split for each in sides.values() for split in each} == set(SPLITS)


@pytest.fixture
def apart(tmp_path: Path) -> Scenario:
    """Two sites with one training table between them, each with a test table of its own beside it."""
    table(tmp_path / "data/all.jsonl", [row for row in ROWS if row["split"] != "test"], "split", "group")
    for site in "ab":
        rows = [{**row, "text": f"{row['text']} of {site}"} for row in ROWS if row["split"] == "test"]
        table(tmp_path / f"data/{site}.jsonl", rows, "split", "group")
    parts = {site: {"train": "data/all.jsonl", "test": f"data/{site}.jsonl"} for site in "ab"}
    return scenario(tmp_path, {"a": [sorted_by(parts["a"])], "b": [answered(parts["b"])]})


def test_a_part_that_two_sites_name_is_shared_and_the_others_are_whole(apart: Scenario) -> None:
    found = partition(apart, 0)
    learned = [texts(found, site, "train") | texts(found, site, "validation") for site in "ab"]
    assert (len(learned[0] | learned[1]), len(learned[0] & learned[1])) == (240, 0)
    assert abs(len(learned[0]) - len(learned[1])) <= 4
    for site in "ab":
        assert texts(found, site, "test") == {f"{text} of {site}" for text in of_split("test")}


@pytest.mark.parametrize("site", ["a", "b"])
def test_a_node_of_a_rehearsal_shares_such_a_part_as_the_whole_does(apart: Scenario, tmp_path: Path, site: str) -> None:
    task = apart.client(site).tasks[0]
    places = {task.name: Place(path=str(tmp_path / "data"))}
    elsewhere = apart.model_copy(update={"folder": tmp_path / "node"})
    here = SiteData(site, tmp_path / "node", places, whole=True)
    assert partition(elsewhere, 0, here)[site] == partition(apart, 0)[site]


def test_a_node_reads_nothing_for_others_but_beside_what_it_names(apart: Scenario, tmp_path: Path) -> None:
    task = apart.client("b").tasks[0]
    spying = task.model_copy(update={"path": "..", "parts": {"train": "node/data/all.jsonl", "test": "secret.jsonl"}})
    clients = (apart.client("a"), apart.client("b").model_copy(update={"tasks": (spying,)}))
    made = apart.model_copy(update={"clients": clients, "folder": tmp_path / "node"})
    here = SiteData("a", tmp_path / "node", {"t": Place(path=str(tmp_path / "data"))}, whole=True)
    with pytest.raises(UserError, match=r"client 'a': others share its data with .*, which lies beside no place"):
        partition(made, 0, here)


def test_parts_of_one_folder_that_have_no_file_in_common_are_no_shared_place(tmp_path: Path) -> None:
    for site in "ab":
        for split in ("train", "test"):
            rows = [{**row, "text": f"{row['text']} {site}"} for row in ROWS if row["split"] == split]
            table(tmp_path / f"data/{site}-{split}.jsonl", rows, "split", "group")
    parts = {site: {split: f"data/{site}-{split}.jsonl" for split in ("train", "test")} for site in "ab"}
    made = scenario(tmp_path, {"a": [sorted_by(parts["a"])], "b": [answered(parts["b"])]}, dirichlet=0.5)
    assert len(set(shared_places(requests(made)).values())) == 2
    found = partition(made, 0)  # a label mix may be drawn: nobody shares anything
    assert all(len(splits.test) for site in "ab" for splits in found[site].values())
    spelled = {"train": "./data/a-train.jsonl", "test": str(tmp_path / "data/b-test.jsonl")}
    with pytest.raises(UserError, match="must all be absolute, or all relative"):
        scenario(tmp_path, {"a": [sorted_by(parts["a"])], "b": [answered(spelled)]})
    whole = {split: str(tmp_path / each) for split, each in parts["a"].items()}
    made = scenario(
        tmp_path, {"a": [sorted_by(parts["a"])], "b": [answered(whole)], "c": [answered("data/a-test.jsonl")]}
    )
    assert len(set(shared_places(requests(made)).values())) == 1  # however they are spelled


KINDS = ("csv", "jsonl", "xlsx")


def written(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = list(rows[0])
    if path.suffix == ".xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in [head, *(list(row.values()) for row in rows)]:
            book.active.append(row)
        book.save(path)
    elif path.suffix == ".csv":
        path.write_text("\n".join(",".join(row) for row in [head, *(list(row.values()) for row in rows)]))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["parts", "group", "split"])
def test_a_table_of_parts_groups_or_a_split_names_no_picture_outside_of_its_folder(
    tmp_path: Path, kind: str, way: str
) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "store").mkdir()
    for i in range(60):
        Image.fromarray(draw.integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(tmp_path / f"store/{i}.png")
    splits = ["train"] * 40 + ["val"] * 8 + ["test"] * 12
    rows = [{"image": f"../store/{i}.png", "label": "ab"[i % 2]} for i in range(60)]
    path: Any = f"tables/all.{kind}"
    if way == "parts":
        path = {}
        for split in dict.fromkeys(splits):
            path[split] = f"{split}-tables/rows.{kind}"  # each with a folder of its own
            written(tmp_path / path[split], [row for row, each in zip(rows, splits, strict=True) if each == split])
    elif way == "group":
        written(tmp_path / path, [{**row, "group": f"P{i // 2}"} for i, row in enumerate(rows)])
    else:
        written(tmp_path / path, [{**row, "split": each} for row, each in zip(rows, splits, strict=True)])

    def made(**more: Any) -> Scenario:
        task = sorted_by(path, modality="image", source=kind, **more)
        return scenario(tmp_path, {"ward": [task]}, on_unreadable="skip")

    with pytest.raises(DataError) as error:  # no damage that may be skipped, but a slip, or worse
        partition(made(), 0)
    assert error.value.number == 60
    assert "lies outside of the table's folder; put it there, or allow its folder by name (pictures: " in str(
        error.value
    )
    found = partition(made(pictures="store"), 0)["ward"]["t"]
    assert sum(len(found[split]) for split in SPLITS) == 60
    if way != "group":
        assert [len(found[split]) for split in SPLITS] == [40, 8, 12]
    with pytest.raises(DataError, match="lies outside of"):
        partition(made(pictures="tables"), 0)
