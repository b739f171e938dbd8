"""Own splits, groups and pictures from files to shares: no content, and no group, is on two sides, at any client or task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.data.partition import Partition, partition
from fedtap.data.site_data import SiteData
from fedtap.data.sources import source
from fedtap.data.sources.intake import DataError
from fedtap.data.splits import SPLITS
from fedtap.scenario.scenario import Scenario, TaskSettings, build_scenario

DATA = {"train": 20, "validation": 6, "test": 8}


def scenario(folder: Path, *clients: list[dict[str, Any]], **data: Any) -> Scenario:
    listed = [{"id": f"c{number}", "tasks": tasks} for number, tasks in enumerate(clients)]
    return build_scenario({"name": "own", "clients": listed, "data": DATA | data}, place="test", folder=folder)


def scans(path: Any, **more: Any) -> dict[str, Any]:
    known = {"name": "scans", "type": "classification", "modality": "image", "domain": "d", "source": "folder"}
    return known | {"path": path, "classes": ["cat", "dog"]} | more


def redraw(path: Any, **more: Any) -> dict[str, Any]:
    known = {"name": "redraw", "type": "reconstruction", "modality": "image", "domain": "d", "source": "folder"}
    return known | {"path": path} | more


def notes(path: Any, **more: Any) -> dict[str, Any]:
    known = {"name": "notes", "type": "classification", "modality": "text", "domain": "d", "source": "csv"}
    return known | {"path": path, "classes": ["cat", "dog"]} | more


def save(folder: Path, number: int, suffix: str = "png", **how: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"p{number % 9}_{number}.{suffix}", **how)


def table(path: Path, rows: int, more: str = "", tail: Any = lambda number: "", word: str = "row") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{word} {number},{'cat' if number % 2 else 'dog'}{tail(number)}" for number in range(rows)]
    path.write_text("\n".join([f"text,label{more}", *lines]))


def sides(shares: Partition, of: Any) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for tasks in shares.values():
        for splits in tasks.values():
            for split in SPLITS:
                for example in splits[split]:
                    found.setdefault(of(example), set()).add(split)
    return found


def test_a_picture_saved_otherwise_is_on_one_side_across_tasks_and_clients(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / f"a/{'cat' if number % 2 else 'dog'}", number)
        save(tmp_path / f"b/{'cat' if number % 2 else 'dog'}", number, "bmp")
        save(tmp_path / "c", number, "tiff", compression="tiff_lzw")
    shares = partition(scenario(tmp_path, [scans("a")], [scans("b"), redraw("c")]), 0)
    found = sides(shares, lambda example: example.image.load().tobytes())
    assert len(found) > 30
    assert all(len(splits) == 1 for splits in found.values())


def test_a_picture_that_a_package_publishes_as_test_is_test_however_it_was_saved(tmp_path: Path) -> None:
    task = TaskSettings.model_validate({**redraw(None), "source": "easy_vqa", "path": None})
    published = source("easy_vqa").examples(task, tmp_path)
    test = [example for example in published if example.split == "test"][:40]
    train = [example for example in published if example.split == "train"][:40]
    (tmp_path / "mine").mkdir()
    for number, example in enumerate(test + train):
        assert example.image is not None
        Image.fromarray(example.image.load()).save(tmp_path / f"mine/{number}.bmp")
    vqa = {"name": "vqa", "type": "reconstruction", "modality": "image", "domain": "d", "source": "easy_vqa"}
    mine = partition(scenario(tmp_path, [vqa, redraw("mine")]), 0)["c0"]["redraw"]
    keys = {example.key for example in test}
    assert {example.key for example in mine.test} <= keys
    assert not keys & {example.key for split in ("train", "validation") for example in mine[split]}  # type: ignore[index]


def test_an_own_split_is_kept(tmp_path: Path) -> None:
    words = ("train", "valid", "test")
    table(tmp_path / "a.csv", 90, ",split", lambda number: f",{words[number % 3]}")
    own = partition(scenario(tmp_path, [notes("a.csv")]), 0)["c0"]["notes"]
    for place, split in enumerate(SPLITS):
        assert own[split]
        assert {int(str(example.text).split()[1]) % 3 for example in own[split]} == {place}


def test_a_group_is_on_one_side_across_tasks_and_clients(tmp_path: Path) -> None:
    for number in range(90):
        save(tmp_path / f"a/{'cat' if number % 2 else 'dog'}", number)
    table(tmp_path / "b.csv", 90, ",patient", lambda number: f",p{number % 9}")
    table(tmp_path / "c.csv", 90, ",group", lambda number: f",p{number % 9}", word="other")
    clients = [scans("a", group="{group}_*"), notes("b.csv", group="patient")], [notes("c.csv")]
    shares = partition(scenario(tmp_path, *clients), 0)
    found = sides(shares, lambda example: example.group)
    assert len(found) == 9
    assert all(len(splits) == 1 for splits in found.values())
    other = partition(scenario(tmp_path, *clients[::-1]), 7)
    assert sides(other, lambda example: example.group) == found


def test_a_site_alone_groups_as_all_do_together(tmp_path: Path) -> None:
    for client in ("c0", "c1"):
        table(tmp_path / f"{client}.csv", 60, ",group", lambda number: f",p{number % 12}", word=client)
    asked = scenario(tmp_path, [notes("c0.csv")], [notes("c1.csv")])
    alone = partition(asked, 0, SiteData("c1", tmp_path))["c1"]
    assert alone == partition(asked, 0)["c1"]


def test_all_that_is_wrong_is_told_together(tmp_path: Path) -> None:
    table(tmp_path / "good.csv", 60)
    table(tmp_path / "few.csv", 1)
    (tmp_path / "broken.csv").write_text("text,label\na,dgo\nb\n")
    bad = scenario(
        tmp_path,
        [notes("missing.csv")],
        [notes("broken.csv")],
        [notes("good.csv")],
        [notes("few.csv")],
        [redraw("good.csv", classes=2)],
    )
    with pytest.raises(DataError) as error:
        partition(bad, 0)
    lines = error.value.faults
    assert error.value.number == len(lines) == 5
    for part, where in (
        ("missing.csv", "c0"),
        ("broken.csv:2: unknown label", "c1"),
        ("broken.csv:3", "c1"),
        ("would be empty", "c3"),
    ):
        assert any(part in line and f"client '{where}'" in line for line in lines), part
    assert any("'classes' is for classification" in line for line in lines)
    assert str(error.value).endswith("(and 4 more faults: `fedtap scenario check` lists them)")


def test_what_two_tasks_find_wrong_with_one_file_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"no picture")
    both = scenario(tmp_path, [redraw("a")], [redraw("a", range=[0, 9])])
    with pytest.raises(DataError) as error:
        partition(both, 0)
    assert error.value.number == 1


def test_skipped_examples_are_counted_and_named_in_an_event(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / "a", number)
    (tmp_path / "a/bad.png").write_bytes(b"no picture")
    told: list[dict[str, Any]] = []
    partition(scenario(tmp_path, [redraw("a")], on_unreadable="skip"), 0, tell=told.append)
    (event,) = [event for event in told if event["event"] == "skipped"]
    assert (event["examples"], event["source"], event["about"]) == (1, "folder", [["c0", "redraw"]])
    assert "a/bad.png: not a readable image" in event["why"][0]
    progress = [event for event in told if event["event"] == "reading"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (61, 61)
    with pytest.raises(DataError):  # the task's own word counts
        partition(scenario(tmp_path, [redraw("a", on_unreadable="refuse")], on_unreadable="skip"), 0)
