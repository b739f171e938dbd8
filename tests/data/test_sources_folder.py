import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.data.sources import source
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
    assert all(example.image and example.key == example.image.digest and example.text is None for example in examples)


def test_classes_may_be_numbers(folder: Path) -> None:
    (folder / "pictures/cat").rename(folder / "pictures/0")
    (folder / "pictures/dog").rename(folder / "pictures/1")
    assert [example.target for example in source("folder").examples(task(classes=2), folder)] == [0, 0, 1]


def test_pixels_are_read_when_asked_for(folder: Path) -> None:
    pytest.importorskip("fedtap.data.images")
    image = source("folder").examples(task(), folder)[2].image
    assert image is not None
    assert image.load().tolist() == np.full((4, 5, 3), 20).tolist()


def test_a_damaged_picture_is_listed_and_fails_only_when_it_is_read(folder: Path) -> None:
    pytest.importorskip("fedtap.data.images")
    (folder / "pictures/dog/1.png").write_bytes(b"no picture")
    image = source("folder").examples(task(), folder)[2].image
    assert image is not None
    with pytest.raises(UserError, match=r"dog/1\.png"):
        image.load()


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
