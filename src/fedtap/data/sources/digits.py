"""Handwritten digits: the 1,797 grey pictures of 8 x 8 pixels that come with scikit-learn."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedtap.data.example import Example, ImageRef
from fedtap.data.sources.base import Source, Supports
from fedtap.data.sources.packages import package_file
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import TaskSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BRIGHTEST = 16  # of the 17 levels in which the pictures are published
_ENLARGE = 8  # 8 x 8 pixels to 64 x 64


class Digits(Source):
    """Classification and reconstruction of handwritten digits."""

    name = "digits"
    title = "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), test part, as in scikit-learn"
    licence = "CC BY 4.0"
    supports: Supports = frozenset({("classification", "image"), ("reconstruction", "image")})

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the ten digits."""
        return tuple("0123456789") if task.type == "classification" else ()

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a picture."""
        labelled = task.type == "classification"
        return tuple(
            Example(image.digest, image, None, label if labelled else None, label if labelled else 0)
            for image, label in _pictures()
        )


@cache
def _pictures() -> tuple[tuple[ImageRef, int], ...]:
    import numpy as np

    # The file that `sklearn.datasets.load_digits` reads, without scikit-learn, which takes two seconds to import.
    data = np.loadtxt(package_file("sklearn", "datasets", "data", "digits.csv.gz"), delimiter=",")
    grey = np.rint(data[:, :-1].reshape(-1, 8, 8) * (255 / _BRIGHTEST)).astype(np.uint8)
    return tuple(
        (ImageRef(digest("digits", picture.tobytes()), partial(_enlarge, picture)), int(label))
        for picture, label in zip(grey, data[:, -1], strict=True)
    )


def _enlarge(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return ``(8, 8)`` grey as ``(64, 64, 3)``, each pixel a square."""
    large = grey.repeat(_ENLARGE, axis=0).repeat(_ENLARGE, axis=1)
    return large[:, :, None].repeat(3, axis=2)
