"""What falls short in clients' data is said, each in one line, and nothing is said where all is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.backbones.untrained import tiny_vocabulary
from fedtap.data.at_hand import AtHand, data_at_hand
from fedtap.data.partition import partition
from fedtap.data.shortfalls import shortfalls
from fedtap.data.site_data import Place, SiteData
from fedtap.scenario.scenario import Scenario, build_scenario

SMILE = "\U0001f600"
Write = Callable[[str, list[dict[str, Any]]], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def rows(name: str, values: list[dict[str, Any]]) -> None:
        (tmp_path / name).write_text("\n".join(map(json.dumps, values)))

    return rows


def scenario(folder: Path, task: dict[str, Any], clients: tuple[str, ...] = ("a",), **more: Any) -> Scenario:
    known = {"name": "t", "type": "classification", "modality": "text", "domain": "d", "source": "jsonl"}
    known |= {"path": "rows.jsonl"} | task
    listed = [{"id": name, "tasks": [known]} for name in clients]
    return build_scenario({"name": "short", "clients": listed, **more}, place="test", folder=folder)


def said(made: Scenario, seed: int = 0, **more: Any) -> dict[str, list[str]]:
    return shortfalls(made, partition(made, seed), seed, **more)


def labelled(number: int, classes: str = "ab") -> list[dict[str, Any]]:
    return [{"text": f"row {i}", "label": classes[i % len(classes)]} for i in range(number)]


def test_nothing_is_said_where_nothing_is_short(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(300))
    assert said(scenario(tmp_path, {"classes": ["a", "b"]})) == {}
    assert said(scenario(tmp_path, {"classes": ["a", "b"], "train": 50, "validation": 10, "test": 20})) == {}


def test_fewer_examples_than_were_asked_for_by_whichever_key(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(60))
    whole = partition(scenario(tmp_path, {"classes": ["a", "b"]}), 0)["a"]["t"]
    lines = {"a": [f"t: test: {len(whole.test)} of 50 asked for"]}
    assert said(scenario(tmp_path, {"classes": ["a", "b"], "test": 50})) == lines
    assert said(scenario(tmp_path, {"classes": ["a", "b"]}, data={"test": 50})) == lines


def test_of_a_skewed_size_what_the_skew_made_of_it_was_asked_for(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(400))
    for seed in range(5):
        made = scenario(tmp_path, {"classes": ["a", "b"]}, data={"train": 40, "quantity": 0.5})
        assert said(made, seed) == {}


def test_clients_that_share_a_place_are_each_told_their_own(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(90))
    found = said(scenario(tmp_path, {"classes": ["a", "b"], "train": 40}, ("a", "b")))
    train = [
        len(own["t"].train) for own in partition(scenario(tmp_path, {"classes": ["a", "b"]}, ("a", "b")), 0).values()
    ]
    assert found == {name: [f"t: train: {n} of 40 asked for"] for name, n in zip("ab", train, strict=True)}


def test_classes_without_examples_and_in_which_splits(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(200))
    found = said(scenario(tmp_path, {"classes": ["a", "b", "c", "d", "e", "f", "g", "h"]}))
    assert found == {
        "a": ["t: train, validation, test: no example of 6 of 8 classes: 'c', 'd', 'e', 'f', 'g' and 1 more"]
    }
    write("rows.jsonl", [*labelled(200), {"text": "the only one", "label": "c"}])
    (line,) = said(scenario(tmp_path, {"classes": ["a", "b", "c"]}))["a"]
    assert line.endswith(": no example of 1 of 3 classes: 'c'")
    assert line.count(",") == 1  # it is in one split of three


def test_a_mix_that_was_drawn_leaves_classes_out_on_purpose(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(300, "abcdef"))
    made = scenario(tmp_path, {"classes": list("abcdef"), "train": 12}, data={"dirichlet": 0.05})
    assert len({example.target for example in partition(made, 0)["a"]["t"].train}) < 6
    assert not any("train" in line for line in said(made).get("a", []))


def test_files_and_folders_that_are_not_taken(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(60):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    own = {"type": "classification", "modality": "image", "source": "folder", "path": "pictures", "classes": ["a", "b"]}
    assert said(scenario(tmp_path, own)) == {}
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("b/notes.txt", "b/scan.dcm", "b/._1.png", "none/1.png", "none/deeper/2.png", "1.png"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(b"")
    (tmp_path / "pictures" / "a" / "more").symlink_to(outside)
    assert said(scenario(tmp_path, own)) == {
        "a": [
            "t: not taken: 1 sub-folder of no class: 'none' (2 pictures)",
            "t: not taken: 1 picture in no class's folder",
            "t: not taken: 2 files that are no picture: 1 .dcm, 1 .txt",
            "t: not taken: 1 link to other folders: a/more",
            "t: not taken: 1 hidden file",
        ]
    }
    # a node says it of the folder that it has
    made = scenario(tmp_path, own | {"path": "nowhere"})
    site_data = SiteData("a", tmp_path, {"t": Place(path="pictures")})
    assert len(shortfalls(made, partition(made, 0, site_data), 0, site_data=site_data)["a"]) == 5


def test_names_from_outside_are_shown_neutral(tmp_path: Path) -> None:
    for i in range(40):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(path)
    strange = tmp_path / "pictures" / "x\x1b[31m\ny"
    strange.mkdir()
    (strange / "1.png").write_bytes(b"")
    own = {"type": "classification", "modality": "image", "source": "folder", "path": "pictures", "classes": ["a", "b"]}
    assert said(scenario(tmp_path, own)) == {
        "a": [r"t: not taken: 1 sub-folder of no class: 'x\x1b[31m y' (1 picture)"]
    }


def test_answers_that_are_longer_than_a_model_writes_or_hold_unknown_words(tmp_path: Path, write: Write) -> None:
    said_by = ["yes", "no", "red " * 7, "red " * 8, SMILE]  # the end takes one token of eight
    write("rows.jsonl", [{"text": f"row {i}", "target": said_by[i % 5].strip()} for i in range(100)])
    made = scenario(tmp_path, {"type": "text_generation"}, network={"answer_tokens": 8})
    assert said(made, words=tiny_vocabulary()) == {
        "a": [
            "t: 20 of 100 answers are longer than a model writes (network.answer_tokens=8)",
            "t: 20 of 100 answers hold words that the model's vocabulary does not know",
        ]
    }
    assert said(made) == {}  # without a vocabulary nothing can be told


@pytest.mark.parametrize("length", [1, 6, 7, 8, 20])
def test_what_a_vocabulary_loses_of_a_text_is_what_it_does_not_write(length: int) -> None:
    words = tiny_vocabulary()
    text = " ".join(["red"] * length)
    cut, unknown = words.lost(text, 8)
    assert cut == (words.decode(words.encode(text, 8)) != text)
    assert not unknown
    assert words.lost(f"red {SMILE}", 8) == (False, True)


def test_what_is_not_at_hand_is_said_and_stops_nothing(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", labelled(80))
    tasks = [
        {"name": name, "type": "classification", "modality": "text", "domain": "d", "source": source, **more}
        for name, source, more in (
            ("good", "jsonl", {"path": "rows.jsonl", "classes": ["a", "b"]}),
            ("gone", "csv", {"path": "gone.csv", "classes": ["a", "b"]}),
            ("wrong", "jsonl", {"path": "rows.jsonl", "classes": ["a", "x"]}),
            ("public", "sentiment", {}),
        )
    ]
    tasks[2]["path"] = "wrong.jsonl"
    write("wrong.jsonl", labelled(80))
    raw = {"name": "short", "clients": [{"id": "a", "tasks": tasks}]}
    made = build_scenario(raw, place="test", folder=tmp_path)
    found = data_at_hand(made, 0)
    lines = found.missing
    assert {client: set(own) for client, own in found.shares.items()} == {"a": {"good"}}
    assert lines[0] == f"{tmp_path / 'gone.csv'}: not on this machine, so not looked at"
    assert "wrong.jsonl:2: unknown label 'b'" in lines[1]
    assert len(lines) == 2


def test_built_in_sources_are_looked_at_if_asked_for_and_nothing_is_fetched(tmp_path: Path) -> None:
    digits = {"type": "classification", "modality": "image", "source": "digits", "path": None, "test": 9_999}
    hub = {"type": "classification", "modality": "image", "source": "cifar100", "path": None}
    made = build_scenario(
        {
            "name": "short",
            "clients": [
                {"id": "a", "tasks": [{"name": "d", "domain": "d", **digits}]},
                {"id": "b", "tasks": [{"name": "c", "domain": "d", **hub}]},
            ],
        },
        place="test",
        folder=tmp_path,
    )
    assert data_at_hand(made, 0) == AtHand()
    found = data_at_hand(made, 0, public=True)
    whole = partition(made.model_copy(update={"clients": made.clients[:1]}), 0)["a"]["d"]
    assert found.shares == {"a": {"d": whole}}
    assert found.missing == ["source 'cifar100': would come from the hub, so not looked at"]
    assert shortfalls(made, found.shares, 0) == {"a": [f"d: test: {len(whole.test)} of 9999 asked for"]}


def test_labels_that_nobody_has_and_numbers_beyond_their_scale(tmp_path: Path, write: Write) -> None:
    write("rows.jsonl", [{"text": f"row {i}", "label": [["a"], ["a", "b"], []][i % 3]} for i in range(120)])
    assert said(scenario(tmp_path, {"type": "multilabel_classification", "classes": ["a", "b", "c"]})) == {
        "a": ["t: train, validation, test: no example of 1 of 3 classes: 'c'"]
    }
    write("rows.jsonl", [{"text": f"row {i}", "target": i} for i in range(100)])
    assert said(scenario(tmp_path, {"type": "regression", "scale": [0, 89]})) == {
        "a": ["t: 10 of 100 numbers lie beyond scale [0, 89]"]
    }
    assert said(scenario(tmp_path, {"type": "regression", "scale": [0, 99]})) == {}


def test_a_skewed_mix_goes_by_the_rarest_label(tmp_path: Path, write: Write) -> None:
    """Of a source where nearly all have one label, clients differ in the others."""
    kinds = [["a"], ["a", "b"], ["a", "c"], ["a", "d"]]
    write("rows.jsonl", [{"text": f"row {i}", "label": kinds[i % 4]} for i in range(800)])
    asked = {"type": "multilabel_classification", "classes": list("abcd"), "train": 40}
    made = scenario(tmp_path, asked, ("a", "b", "c"), data={"dirichlet": 0.05})
    held = [[example.target for example in own["t"].train] for own in partition(made, 0).values()]
    assert all(max(map(own.count, own)) >= 20 for own in held)  # of a fair mix 10 of 40 would be of each kind
    assert len({max(own, key=own.count) for own in held}) > 1
