"""Images: files to arrays, arrays to the normalised image space and back. Not the preprocessing of a tower: each has its own.

An image is ``(H, W, 3)`` uint8. The normalised image space is ``(3, H, W)`` float32 in [-1, 1]; reconstruction targets and
outputs live there.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fedtap.runtime.errors import UserError

RECONSTRUCTION_SIZE = 64
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""The decoders that a file may reach, whatever its name says: others start programs (EPS: Ghostscript)."""

# What Pillow's decoders are known to raise on files that are cut short or garbled.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8 RGB: upright as its EXIF says, transparency over white, the first frame.

    Raises
    ------
    UserError
        If the file is missing, broken, not an image, or so large that decoding it could exhaust the memory.
    """
    path = Path(path)
    try:
        return _decoded(path, str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image; check the path") from error


def decode_image(content: bytes, place: str) -> NDArray[np.uint8]:
    """Decode the content of an image file as :func:`read_image` does; ``place`` names it in errors.

    Raises
    ------
    UserError
        If it is broken, not an image, or so large that decoding it could exhaust the memory.
    """
    return _decoded(io.BytesIO(content), place)


def _decoded(file: Path | io.BytesIO, place: str) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with Image.open(file, formats=FORMATS) as image:
                return _rgb(ImageOps.exif_transpose(image))
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
    return " ".join(str(error).split())[:120] or type(error).__name__


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":
        # Sixteen bits: Pillow's own conversion would clip at 255 and leave a white picture.
        wide = np.asarray(image, dtype=np.float64)
        grey = np.rint(wide.clip(0, 65535) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
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
