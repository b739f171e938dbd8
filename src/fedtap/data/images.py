"""Images: files to arrays, arrays to the normalised image space and back. Not the preprocessing of a tower: each has its own.

What a file holds (``Kept``) is ``(H, W, 3)`` uint8, or ``(H, W)`` of one channel with more than eight bits, or of floating-point
numbers. An image, which is what a model sees, is ``(H, W, 3)`` uint8. The normalised image space is ``(3, H, W)`` float32 in
[-1, 1]; reconstruction targets and outputs live there.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fedtap.runtime.errors import UserError

RECONSTRUCTION_SIZE = 64
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""The decoders that a file may reach, whatever its name says: others start programs (EPS: Ghostscript)."""

# What Pillow's decoders are known to raise on files that are cut short or garbled.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)


Kept: TypeAlias = NDArray[Any]
"""The values of a picture as its file holds them: ``(H, W, 3)`` uint8, or ``(H, W)`` int64 or float64."""
Limits: TypeAlias = tuple[float, float]
"""The values that are shown as black and as white."""
SIXTEEN_BITS = 65535


def read_image(path: str | Path, limits: Limits | None = None) -> NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8 RGB: upright as its EXIF says, transparency over white, the first frame.

    Parameters
    ----------
    path
        The file.
    limits
        The values that become 0 and 255, those between in proportion; by default all that the file's kind can hold.

    Raises
    ------
    UserError
        If the file is missing, broken, not an image, or so large that decoding it could exhaust the memory.
    """
    path = Path(path)
    try:
        return shown(_decoded(path, str(path)), limits, str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image; check the path") from error


def decode_image(content: bytes, place: str) -> NDArray[np.uint8]:
    """Decode the content of an image file as :func:`read_image` does; ``place`` names it in errors.

    Raises
    ------
    UserError
        If it is broken, not an image, or so large that decoding it could exhaust the memory.
    """
    return shown(kept_content(content, place), None, place)


def kept_content(content: bytes, place: str) -> Kept:
    """Return the values that the content of an image file holds; errors are those of :func:`decode_image`."""
    return _decoded(io.BytesIO(content), place)


def kept_picture(image: Image.Image) -> Kept:
    """Return the values of an image that Pillow has opened, upright; errors are those of :func:`decode_image`."""
    try:
        return _values(ImageOps.exif_transpose(image))
    except _BROKEN as error:
        raise UserError(f"the picture: not readable ({_brief(error)}); give another") from error


def shown(kept: Kept, limits: Limits | None, place: str) -> NDArray[np.uint8]:
    """Return the image that a model sees of what a file holds.

    Raises
    ------
    UserError
        If there are no limits and the values have none of their own, or the limits are beyond what the file can hold.
    """
    if limits is None:
        if kept.dtype == np.uint8:
            return kept
        if kept.dtype.kind == "f":
            raise UserError(
                f"{place}: its pixels are floating-point numbers of unknown range; give 'range' or 'window'"
            )
        grey = np.rint(kept.clip(0, SIXTEEN_BITS) / 257).astype(np.uint8)
    else:
        low, high = limits
        if kept.dtype == np.uint8 and high > 256:
            raise UserError(
                f"{place}: its pixels have 8 bits, 0 to 255, and the range ends at {high:g}; save it with all of its bits, or "
                "mend 'range' or 'window'"
            )
        if kept.dtype.kind == "f" and not np.isfinite(kept).all():
            raise UserError(f"{place}: some of its pixels are no finite numbers; mend it, or remove it")
        grey = np.rint((kept.astype(np.float64) - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)


def _decoded(file: Path | io.BytesIO, place: str) -> Kept:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with Image.open(file, formats=FORMATS) as image:
                return _values(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UserError(f"{place}: the image has more than {limit} million pixels; make it smaller") from error
    except _BROKEN as error:
        raise UserError(
            f"{place}: not a readable image ({_brief(error)}); replace it by a whole PNG or JPEG file"
        ) from error


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(" <_io.BytesIO")[0]  # an address in memory tells nobody anything
    return text[:120] or type(error).__name__


def _values(image: Image.Image) -> Kept:
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":
        # Sixteen bits: Pillow's own conversion would clip at 255 and leave a white picture.
        return np.asarray(image).astype(np.int64)
    if image.mode == "F":
        return np.asarray(image).astype(np.float64)
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def resize(
    image: NDArray[np.uint8], size: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> NDArray[np.uint8]:
    """Return the image as ``(size, size, 3)`` uint8, antialiased; the aspect ratio is not kept."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if image.shape[:2] == (size, size):
        return image
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), resample)
    return np.array(resized, dtype=np.uint8)


def normalise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``(H, W, 3)`` uint8 as ``(3, H, W)`` float32, x / 127.5 - 1, computed in floating point.

    >>> normalise(np.array([[[0, 51, 255]]], dtype=np.uint8)).ravel().round(6).tolist()
    [-1.0, -0.6000000238418579, 1.0]
    """
    return np.ascontiguousarray((image.astype(np.float32) / np.float32(127.5) - 1).transpose(2, 0, 1))


def denormalise(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return ``(3, H, W)`` in the normalised image space as ``(H, W, 3)`` uint8, rounded, and clipped to what exists.

    >>> denormalise(np.array([-1.5, -0.6, 1.0]).reshape(3, 1, 1)).ravel().tolist()
    [0, 51, 255]
    """
    pixels = np.rint((np.asarray(image, dtype=np.float64) + 1) * 127.5).clip(0, 255)
    return np.ascontiguousarray(pixels.astype(np.uint8).transpose(1, 2, 0))
