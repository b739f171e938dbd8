"""Emoji of two artists: one key an emoji, whoever drew it; what is left out; packages that are missing, or not in order."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import fedtap as package
from emoji_packages import ARTISTS, entry, write_package
from fedtap.data.example import Example
from fedtap.data.partition import partition
from fedtap.data.sources import source
from fedtap.data.sources.emoji import CATEGORIES
from fedtap.data.splits import SPLITS
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings, load_scenario

VENDORS = Path(__file__).parents[3] / "scenarios" / "vendors.yaml"
KINDS = (
    ("classification", "image"),
    ("classification", "text"),
    ("text_generation", "image"),
    ("reconstruction", "image"),
)


def task(artist: str, kind: str = "classification", modality: str = "image", **more: Any) -> TaskSettings:
    given = {"name": "t", "type": kind, "modality": modality, "domain": "d", "source": f"emoji_{artist}", **more}
    return TaskSettings.model_validate(given)


def examples(of: TaskSettings, folder: Path = Path()) -> list[Example]:
    source(of.source).check(of)
    return list(source(of.source).examples(of, folder))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with 20 emoji of two artists."""
    monkeypatch.chdir(tmp_path)
    for artist in ARTISTS:
        write_package(tmp_path, artist, [entry(number) for number in range(20)])
    return tmp_path


@pytest.mark.usefixtures("here")
def test_what_is_asked_and_answered() -> None:
    for kind, modality in KINDS:
        found = examples(task("twitter", kind, modality))
        assert len(found) == 20
        for number, example in enumerate(found):
            assert example.stratum == number % 9
            expected = {"classification": number % 9, "text_generation": f"thing {number}", "reconstruction": None}
            assert example.target == expected[kind]
            assert example.text == (f"thing {number}" if modality == "text" else None)
            assert (example.image is None) == (modality == "text")
    assert source("emoji_google").classes(task("google")) == CATEGORIES
    assert source("emoji_google").classes(task("google", "reconstruction")) == ()


@pytest.mark.usefixtures("here")
def test_an_emoji_has_one_key_whoever_drew_it_and_whatever_is_asked() -> None:
    by_kind = [[e.key for e in examples(task(artist, *kind))] for artist in ARTISTS for kind in KINDS]
    assert all(keys == by_kind[0] for keys in by_kind)
    assert len(set(by_kind[0])) == 20
    drawn = [{e.image.digest for e in examples(task(artist)) if e.image} for artist in ARTISTS]
    assert not drawn[0] & drawn[1]


def test_swatches_what_was_not_drawn_and_what_was_drawn_twice_are_left_out(tmp_path: Path) -> None:
    entries = [
        entry(1, name="SECOND FLAG", sort_order=9),
        entry(2, name="FIRST FLAG", sort_order=3),
        entry(3, category="Component"),
        entry(4, has_img_google=False),
        entry(5),
    ]
    write_package(tmp_path, "google", entries, alike=("1F001", "1F002"))
    path = "node_modules/emoji-datasource-google"
    assert [e.text for e in examples(task("google", "classification", "text", path=path), tmp_path)] == [
        "first flag",
        "thing 5",
    ]


def test_packages_are_found_from_here_upwards_and_a_path_goes_before(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = here / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert len(examples(task("google"))) == 20
    write_package(below, "google", [entry(7), entry(8)])
    assert len(examples(task("google"))) == 2
    assert len(examples(task("google", path="node_modules/emoji-datasource-google"), here)) == 20


def test_a_missing_package_is_told_with_the_line_that_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="emoji-datasource-twitter is not in this folder or above; run: npm install emoji-d"
    ):
        examples(task("twitter"))
    with pytest.raises(
        UserError, match=r"emoji\.json: no such file; 'path' must be the folder of an unpacked emoji-data"
    ):
        examples(task("twitter", path="nowhere"), tmp_path)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ({}, "is no list of emoji; restore it"),
        ([], "is no list of emoji; restore it"),
        ([entry(1), 7], "entry 1 has no plain name"),
        ([entry(1, unified="../../../secret")], "entry 0 has no plain name, category, code"),
        ([entry(1, unified="1F600/..")], "entry 0 has no plain name, category, code"),
        ([entry(1, name="a\x1b[2Jb")], "entry 0 has no plain name"),
        ([entry(1, name="x" * 201)], "entry 0 has no plain name"),
        ([entry(1, sort_order="first")], "entry 0 has no plain name"),
        ([entry(1, category="Weapons")], "entry 0 is of category 'Weapons', which Unicode does not have"),
    ],
)
def test_a_list_that_is_not_what_it_should_be_is_one_line(rows: Any, fault: str, tmp_path: Path) -> None:
    folder = write_package(tmp_path, "google", [entry(1)])
    (folder / "emoji.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(fault)) as error:
        examples(task("google", path=str(folder)))
    assert "\n" not in str(error.value)


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = write_package(tmp_path, "google", [entry(1)])
    (folder / "img" / "google" / "64" / "1f001.png").unlink()
    with pytest.raises(UserError, match=r"1f001\.png: the image cannot be read"):
        examples(task("google", path=str(folder)))


def test_no_emoji_is_in_two_splits_of_any_artist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The federation `vendors`, on made-up emoji."""
    monkeypatch.chdir(tmp_path)
    for artist in ARTISTS:
        write_package(tmp_path, artist, [entry(number) for number in range(400)])
    split_of: dict[str, str] = {}
    artists: dict[str, set[str]] = {}
    for client, tasks in partition(load_scenario(VENDORS), 0).items():
        for name, splits in tasks.items():
            assert len(splits.train) >= 16, (client, name)
            for split in SPLITS:
                assert splits[split], (client, name)
                for example in splits[split]:
                    assert split_of.setdefault(example.key, split) == split
                    artists.setdefault(example.key, set()).add(client.split("-")[0])
    assert any(len(drawn) == 2 for drawn in artists.values())


@pytest.mark.slow
def test_the_federation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for artist in ARTISTS:
        write_package(tmp_path, artist, [entry(number) for number in range(300)])
    small = [
        "rounds=1",
        "local_steps=1",
        "training.finetune_steps=1",
        "data.train=8",
        "data.validation=4",
        "data.test=4",
    ]
    tiny = ["backbone.vision=untrained-tiny", "backbone.text=untrained-tiny", "network.dim=8", "network.heads=2"]
    package.run(VENDORS, method="fedavg_ft", out=tmp_path / "run", overrides=[*small, *tiny])
    assert '"failed"' not in (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
