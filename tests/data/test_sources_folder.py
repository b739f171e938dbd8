import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.data.sources import source
from fedtap.data.sources.intake import DataError, Intake
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), shade, dtype=np.uint8)).save(path)


def task(**more: Any) -> TaskSettings:
    known = {"name": "t", "type": "classification", "modality": "image", "domain": "d", "source": "folder"}
    return TaskSettings.model_validate(known | {"path": "pictures", "classes": ["cat", "dog"]} | more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shade, name in enumerate(("cat/1.png", "cat/below/2.PNG", "dog/1.png", "horse/1.png")):
        picture(tmp_path / "pictures" / name, 10 * shade)
    (tmp_path / "pictures/dog/notes.txt").write_text("no picture")
    return tmp_path


def test_the_class_is_the_subfolder(folder: Path) -> None:
    examples = source("folder").examples(task(), folder)
    assert [(example.target, example.stratum) for example in examples] == [(0, 0), (0, 0), (1, 1)]
    assert all(example.image and example.key == example.image.key and example.text is None for example in examples)


def test_classes_may_be_numbers(folder: Path) -> None:
    (folder / "pictures/cat").rename(folder / "pictures/0")
    (folder / "pictures/dog").rename(folder / "pictures/1")
    assert [example.target for example in source("folder").examples(task(classes=2), folder)] == [0, 0, 1]


def test_pixels_are_read_when_asked_for(folder: Path) -> None:
    pytest.importorskip("fedtap.data.images")
    image = source("folder").examples(task(), folder)[2].image
    assert image is not None
    assert image.load().tolist() == np.full((4, 5, 3), 20).tolist()


def test_damaged_pictures_are_refused_together_or_skipped_and_named(folder: Path) -> None:
    for name in ("dog/1.png", "cat/1.png"):
        (folder / "pictures" / name).write_bytes(b"no picture")
    picture(folder / "pictures/dog/2.png", 90)
    with pytest.raises(
        DataError, match=r"cat/1\.png: not a readable image \(cannot identify image file\); .* \(and 1 more"
    ) as error:
        source("folder").examples(task(), folder)
    assert [name in fault for name, fault in zip(("cat/1.png", "dog/1.png"), error.value.faults, strict=True)] == [
        True,
        True,
    ]
    intake = Intake(skip=True)
    assert len(source("folder").read(task(), folder, intake)) == 2
    assert intake.number_skipped == 2
    assert "dog/1.png" in intake.skipped[1]
    assert len(source("folder").examples(task(on_unreadable="skip"), folder)) == 2


def test_classes_that_are_missing_are_told_together(folder: Path) -> None:
    with pytest.raises(DataError) as error:
        source("folder").examples(task(classes=["cat", "dgo", "hrose"]), folder)
    assert error.value.number == 2


def test_where_nothing_can_be_read_there_is_nothing_to_skip_to(folder: Path) -> None:
    for path in (folder / "pictures").rglob("*.[pP][nN][gG]"):
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"no examples in it but 3 that cannot be read"):
        source("folder").examples(task(on_unreadable="skip"), folder)


SAME = {
    "png": {"compress_level": 0},
    "bmp": {},
    "tiff": {"compression": "tiff_lzw"},
    "webp": {"lossless": True},
    "ppm": {},
}


@pytest.mark.parametrize("suffix", SAME)
def test_a_picture_saved_twice_is_one_example(folder: Path, suffix: str) -> None:
    before = source("folder").examples(task(), folder)
    with Image.open(folder / "pictures/cat/1.png") as image:
        image.save(folder / f"pictures/cat/again.{suffix}", **SAME[suffix])
    intake = Intake()
    assert source("folder").read(task(), folder, intake) == before
    assert any("1 of 4 examples are there more than once" in line for line in intake.remarks)


@pytest.mark.parametrize(("group", "found"), [("{group}_*", ["p1", "p2", "p1"]), (1, ["w1", "w1", "w2"])])
def test_groups_by_pattern_or_by_subfolder(tmp_path: Path, group: str | int, found: list[str]) -> None:
    for shade, name in enumerate(("cat/w1/p1_a.png", "cat/w1/p2_b.png", "dog/w2/p1_c.png")):
        picture(tmp_path / "pictures" / name, 10 * shade)
    settings = task(group=group)
    source("folder").check(settings)
    assert [example.group for example in source("folder").examples(settings, tmp_path)] == found


@pytest.mark.parametrize(
    ("group", "fault"),
    [("{group}-*", r"1\.png: is not of the pattern '\{group\}-\*'"), (2, r"lies in no sub-folder of level 2")],
)
def test_a_picture_without_a_group_is_unreadable(folder: Path, group: str | int, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        source("folder").examples(task(group=group), folder)


@pytest.mark.parametrize("group", ["patient", "{group}{group}"])
def test_a_pattern_says_where_the_group_stands(group: str) -> None:
    with pytest.raises(UserError, match=r"'group' is '.*'; give the level of a sub-folder"):
        source("folder").check(task(group=group))


def test_three_folders_are_the_three_splits(tmp_path: Path) -> None:
    for shade, name in enumerate(("train/cat/1", "train/dog/1", "val/cat/1", "val/dog/1", "test/cat/1", "test/dog/1")):
        picture(tmp_path / f"pictures/{name}.png", 10 * shade)
    settings = task(path={"train": "pictures/train", "val": "pictures/val", "test": "pictures/test"})
    examples = source("folder").examples(settings, tmp_path)
    assert [example.split for example in examples] == ["test"] * 2 + ["own_train"] * 2 + ["own_validation"] * 2


def test_a_picture_in_two_of_the_three_is_tested_on_alone(tmp_path: Path) -> None:
    for name in ("train/cat/1", "train/dog/1", "test/cat/1", "test/dog/1"):
        picture(tmp_path / f"pictures/{name}.png", 10 * len(name) if "dog/1" in name else 7)
    intake = Intake()
    examples = source("folder").read(task(path={"train": "pictures/train", "test": "pictures/test"}), tmp_path, intake)
    assert [(example.target, example.split) for example in examples] == [(0, "test"), (1, "test"), (1, "train")]
    assert any("1 contents are in two splits" in line for line in intake.remarks)


def test_reconstruction_takes_every_picture_once(folder: Path) -> None:
    picture(folder / "pictures/again.png", 0)
    examples = source("folder").examples(task(type="reconstruction", classes=None), folder)
    assert len(examples) == 4
    assert {example.target for example in examples} == {None}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"path": "picture"}, r"picture: no such folder \(task 't'\); create it, or mend 'path'"),
        (
            {"classes": ["cat", "dgo"]},
            r"dgo: no folder for class 'dgo' \(did you mean 'dog'\?\); create it, or mend 'classes'",
        ),
        ({"classes": ["cat", "empty"]}, r"empty: no picture in it or below; add some \(\.bmp, .*\), or mend 'path'"),
    ],
)
def test_what_is_missing_is_named(folder: Path, given: dict[str, Any], fault: str) -> None:
    (folder / "pictures/empty").mkdir()
    with pytest.raises(UserError, match=fault) as error:
        source("folder").examples(task(**given), folder)
    assert "\n" not in str(error.value)


HIDDEN = (
    "cat/._1.png",
    "cat/.ipynb_checkpoints/1-checkpoint.png",
    "__MACOSX/cat/1.png",
    "cat/@eaDir/1.png",
    ".git/1.png",
)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_systems_leave_among_the_files_is_no_data(folder: Path, hidden: str) -> None:
    for settings in (task(), task(type="reconstruction", classes=None)):
        before = source("folder").examples(settings, folder)
        picture(folder / "pictures" / hidden, 200)
        assert source("folder").examples(settings, folder) == before


def test_a_scenario_within_a_hidden_folder_has_data(tmp_path: Path) -> None:
    """Only what lies below the folder of pictures is looked at: the user's own place may be called anything."""
    for shade, name in enumerate(("cat/1.png", "dog/1.png")):
        picture(tmp_path / ".cache" / "pictures" / name, 10 * shade)
    assert len(source("folder").examples(task(), tmp_path / ".cache")) == 2


def test_a_class_is_found_however_its_accent_is_written(tmp_path: Path) -> None:
    for shade, name in enumerate(("röd", "blå")):
        picture(tmp_path / "pictures" / unicodedata.normalize("NFD", name) / "1.png", 10 * shade)
    settings = task(classes=[unicodedata.normalize("NFC", name) for name in ("röd", "blå")])
    assert [example.target for example in source("folder").examples(settings, tmp_path)] == [0, 1]
    picture(tmp_path / "pictures" / unicodedata.normalize("NFC", "röd") / "2.png", 90)
    with pytest.raises(UserError, match="their accents written in two ways"):
        source("folder").examples(settings, tmp_path)
