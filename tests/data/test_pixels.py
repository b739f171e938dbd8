"""Pictures known by their pixels, the window through which they are seen, and what is remembered of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.data import images
from fedtap.data.images import read_image
from fedtap.data.pixels import look
from fedtap.data.sources import source
from fedtap.data.sources.intake import Intake
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

WIDE = np.array([[0, 1000, 2000], [3000, 4000, 4095]], dtype=np.uint16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def save(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_the_same_pixels_are_one_picture_and_others_are_not(tmp_path: Path) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    png, tiff = look(save(tmp_path / "a.png", pixels)), look(save(tmp_path / "a.tiff", pixels))
    assert png == tiff
    assert png.key == tiff.key
    others = (pixels + 1, pixels.reshape(5, 4, 3))
    assert all(look(save(tmp_path / f"b{n}.png", other)).key != png.key for n, other in enumerate(others))


def test_eight_bits_saved_as_sixteen_are_the_same_picture(tmp_path: Path) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert look(save(tmp_path / "a.png", grey)).key == look(save(tmp_path / "b.png", grey.astype(np.uint16) * 257)).key


def test_a_range_changes_what_is_seen_and_not_which_picture_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", WIDE)
    plain, ranged = look(path), look(path, (0, 4095))
    assert plain.key == ranged.key
    assert plain.digest != ranged.digest
    assert plain.load().max() == 16
    assert ranged.load()[..., 0].tolist() == [[0, 62, 125], [187, 249, 255]]


def test_what_a_coarser_look_makes_alike_is_still_two_pictures(tmp_path: Path) -> None:
    one, other = look(save(tmp_path / "a.png", WIDE)), look(save(tmp_path / "b.png", WIDE ^ 1))
    assert one.digest == other.digest
    assert one.key != other.key


def settings(**more: Any) -> TaskSettings:
    known = {
        "name": "t",
        "type": "reconstruction",
        "modality": "image",
        "domain": "d",
        "source": "folder",
        "path": "scans",
    }
    return TaskSettings.model_validate(known | more)


def test_a_window_is_that_of_dicom() -> None:
    assert settings(window={"center": 2048, "width": 4096}).limits == (0.0, 4095.0)
    assert settings(window={"center": 40, "width": 400}).limits == (-160.0, 239.0)
    assert settings(range=[-1000, 3000]).limits == (-1000.0, 3000.0)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"range": [5, 5]}, "must be the lowest value and a higher one"),
        ({"range": [0, 9], "window": {"center": 4, "width": 9}}, "'range' and 'window' say the same"),
        ({"window": {"center": 4, "width": 1}}, "greater than or equal to 2"),
        ({"range": [0, float("nan")]}, "finite"),
    ],
)
def test_a_window_that_shows_nothing_is_refused(more: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        settings(**more)


def test_negative_and_floating_values_are_shown_by_their_range(tmp_path: Path) -> None:
    values = np.array([[-1000, 0], [1000, 3000]], dtype=np.int32)
    for name, kind in (("a.tiff", np.int32), ("b.tiff", np.float32)):
        shown = read_image(save(tmp_path / name, values.astype(kind)), (-1000, 1000))
        assert shown[..., 1].tolist() == [[0, 128], [255, 255]]
    with pytest.raises(UserError, match="of unknown range; give 'range' or 'window'"):
        look(tmp_path / "b.tiff")
    assert look(tmp_path / "a.tiff", (0, 1)).key == look(tmp_path / "b.tiff", (0, 1)).key


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.zeros((2, 2), np.uint8), "have 8 bits, 0 to 255, and the range ends at 4095"),
        (np.array([[np.nan, 1]], np.float32), "no finite numbers"),
    ],
)
def test_a_range_that_does_not_fit_the_picture_is_refused(tmp_path: Path, values: Any, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        look(save(tmp_path / "a.tiff", values), (0, 4095))


@pytest.mark.parametrize(
    ("values", "more", "warned"),
    [
        ([WIDE, WIDE + 1], {}, True),  # 12 of 16 bits
        ([WIDE // 2, WIDE // 4], {}, True),
        ([WIDE, WIDE * 4], {}, False),
        ([WIDE, WIDE // 2], {"range": [0, 4095]}, False),
        ([WIDE, WIDE // 2], {"range": [0, 65535]}, True),
        ([np.eye(4, dtype=np.uint8)], {}, True),  # a mask of zeros and ones
        ([np.eye(4, dtype=np.uint8) * 90], {}, False),
        (
            [np.full((2, 2), 9, np.uint8), np.full((2, 2), 200, np.uint8)],
            {},
            False,
        ),  # each alone is flat, the source is not
    ],
)
def test_a_source_that_uses_little_of_its_range_is_remarked_on(
    tmp_path: Path, values: list[Any], more: dict[str, Any], warned: bool
) -> None:
    for number, each in enumerate(values):
        save(tmp_path / f"scans/{number}.png", each)
    intake = Intake()
    source("folder").read(settings(**more), tmp_path, intake)
    told = [line for line in intake.remarks if "of the range of their values" in line]
    assert len(told) == warned
    assert all("give 'range: [lowest, highest]'" in line for line in told)


def test_a_range_is_for_pictures(tmp_path: Path) -> None:
    words = {"name": "t", "type": "classification", "modality": "text", "domain": "d", "source": "csv", "path": "a.csv"}
    task = TaskSettings.model_validate(words | {"classes": ["a", "b"], "range": [0, 1]})
    with pytest.raises(UserError, match="'range' is for pictures"):
        source("csv").check(task)
    digits = {"name": "t", "type": "reconstruction", "modality": "image", "domain": "d", "source": "digits"}
    task = TaskSettings.model_validate(digits | {"window": {"center": 4, "width": 9}})
    with pytest.raises(UserError, match="'window' means nothing to this source"):
        source("digits").check(task)


def test_a_picture_is_decoded_once_for_all_processes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", WIDE)
    first = look(path)
    forget()
    monkeypatch.setattr(images, "kept_content", lambda content, place: pytest.fail("decoded again"))
    again = look(path)
    assert (again.key, again.digest, again.extent) == (first.key, first.digest, first.extent)


def test_what_was_remembered_wrongly_is_not_used(tmp_path: Path, cache: Path) -> None:
    path = save(tmp_path / "a.png", WIDE)
    first = look(path)
    (memory,) = (cache / "pixels").iterdir()
    line = memory.read_text()
    for damaged in (line.replace(first.key[:9], "000000000"), line[:-9], "[]\n", "\xff", line.replace("0.0,", "0.5,")):
        memory.write_text(damaged)
        forget()
        assert (look(path).key, look(path).extent) == (first.key, first.extent)


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "file"))
    path = save(tmp_path / "a.png", WIDE)
    assert look(path) == look(path)


def forget() -> None:
    from fedtap.data import pixels

    pixels._memory.cache_clear()
