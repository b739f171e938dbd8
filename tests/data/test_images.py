"""Reading images of every mode, refusing broken ones, and the normalised image space by hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedtap.data.images import RECONSTRUCTION_SIZE, decode_image, denormalise, normalise, read_image, resize
from fedtap.runtime.errors import UserError

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [90, 90, 90], [255, 255, 255]]], np.uint8)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_rgb_and_palette_come_back_as_they_are(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    np.testing.assert_array_equal(read_image(saved(image, tmp_path / "rgb.png")), COLOURS)
    palette = image.quantize(6, method=Image.Quantize.MEDIANCUT)
    np.testing.assert_array_equal(
        read_image(saved(palette, tmp_path / "palette.png")), np.asarray(palette.convert("RGB"))
    )


def test_the_content_of_a_file_is_decoded_as_the_file_and_faults_name_its_place(tmp_path: Path) -> None:
    path = saved(Image.fromarray(COLOURS), tmp_path / "rgb.png")
    np.testing.assert_array_equal(decode_image(path.read_bytes(), "row 3"), read_image(path))
    for content in (b"", b"no image", path.read_bytes()[:40]):
        with pytest.raises(UserError, match=r"^row 3: not a readable image \(.*\); replace it") as error:
            decode_image(content, "row 3")
        assert "\n" not in str(error.value)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], np.uint8)
    found = read_image(saved(Image.fromarray(grey), tmp_path / "grey.png"))
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    wide = np.array([[0, 257 * 100, 65535]], np.uint16)
    found = read_image(saved(Image.fromarray(wide), tmp_path / "wide.png"))
    np.testing.assert_array_equal(found[0, :, 0], [0, 100, 255])


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    found = read_image(saved(Image.fromarray(pixels), tmp_path / "alpha.png"))
    np.testing.assert_array_equal(found[0, :2], [[10, 20, 30], [255, 255, 255]])
    np.testing.assert_allclose(found[0, 2], 204, atol=1)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    palette.putpalette([200, 0, 0, 0, 200, 0])
    found = read_image(saved(palette, tmp_path / "clear.png", transparency=1))
    np.testing.assert_array_equal(found[0], [[200, 0, 0], [255, 255, 255]])


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show it upright
    found = read_image(saved(image, tmp_path / "turned.png", exif=exif))
    np.testing.assert_array_equal(found, np.rot90(COLOURS, k=-1))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused_by_name(format: str, tmp_path: Path) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, format)
    data = whole.getvalue()
    path = tmp_path / f"cut.{format.lower()}"
    path.write_bytes(data)
    assert read_image(path).shape == (24, 24, 3)
    for length in (0, 3, 20, len(data) // 4, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=rf"cut\.{format.lower()}: not a readable image .*replace it"):
            read_image(path)


def test_garbled_files_never_raise_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "GIF", "TIFF"):
        whole = io.BytesIO()
        Image.fromarray(COLOURS.repeat(8, 0).repeat(8, 1)).save(whole, format)
        read, refused = [], []
        for _ in range(60):
            data = bytearray(whole.getvalue())
            for place in generator.integers(0, len(data), 4):
                data[place] = generator.integers(0, 256)
            path = tmp_path / "garbled"
            path.write_bytes(data)
            try:
                read.append(read_image(path))
            except UserError as error:
                refused.append(str(error))
        assert all(image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 for image in read)
        assert all("garbled: " in message and "\n" not in message for message in refused)
        assert refused


def test_no_image_missing_file_folder_and_float_pixels(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("these are notes")
    with pytest.raises(UserError, match=r"notes\.png: not a readable image"):
        read_image(tmp_path / "notes.png")
    with pytest.raises(UserError, match=r"gone\.png: no such image"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(tmp_path)
    path = saved(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / "float.tiff")
    with pytest.raises(UserError, match="floating-point"):
        read_image(path)


@pytest.mark.parametrize("factor", [1.5, 3])
def test_huge_images_are_refused_before_they_are_decoded(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)
    path = saved(Image.new("RGB", (1000, int(1000 * factor))), tmp_path / "huge.png")
    with pytest.raises(UserError, match=r"huge\.png: the image has more than 1 million pixels"):
        read_image(path)


def test_resize_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize(stripes, 8)
    assert small.shape == (8, 8, 3)
    # Without antialiasing, sampling every eighth column would give all black or all white.
    np.testing.assert_allclose(small[1:-1, 1:-1], 127.5, atol=3)
    np.testing.assert_array_equal(resize(COLOURS[:, :1].repeat(2, 1), 2), COLOURS[:, :1].repeat(2, 1))
    assert resize(COLOURS, RECONSTRUCTION_SIZE).shape == (64, 64, 3)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)])
def test_resize_takes_only_rgb_bytes(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        resize(image, 4)


def test_normalise_by_hand_at_the_extremes() -> None:
    found = normalise(np.array([[[0, 51, 255], [128, 127, 1]]], np.uint8))
    assert found.dtype == np.float32
    assert found.shape == (3, 1, 2)
    np.testing.assert_allclose(found[:, 0, 0], [-1, -0.6, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 1], [1 / 255, -1 / 255, -253 / 255], atol=1e-6)


def test_denormalise_rounds_clips_and_undoes_normalise() -> None:
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(denormalise(normalise(every)), every)
    given = np.array([-7, 9, -1 + 1.6 / 127.5], np.float32).reshape(3, 1, 1)
    assert denormalise(given).ravel().tolist() == [0, 255, 2]


def test_the_content_decides_and_only_decoders_of_pictures_are_tried(tmp_path: Path) -> None:
    for format in ("EPS", "PDF", "ICO", "PCX", "TGA", "SGI"):
        path = tmp_path / f"{format}.png"
        Image.fromarray(COLOURS).resize((16, 16)).save(path, format=format)
        with pytest.raises(UserError, match="not a readable image"):
            read_image(path)


def test_content_of_another_format_reaches_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)
