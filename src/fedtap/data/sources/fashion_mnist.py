"""Fashion-MNIST: grey pictures of 28 x 28 pixels of clothes, shoes and bags in ten classes.

From the hub, from a folder of the hub's schema, or from a folder with the four original IDX files, which Debian's package
``dataset-fashion-mnist`` installs in ``/usr/share/datasets/fashion-mnist``. The last know a picture by its pixels, the others
by its PNG file: which training pictures serve for validation differs between them, what is test does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedtap.data.example import Example, ImageRef, Published, distinct
from fedtap.data.sources.hub.pictures import HubPictures
from fedtap.data.sources.intake import Intake
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import TaskSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_IDX: tuple[tuple[Published, str], ...] = (("test", "t10k"), ("train", "train"))  # test first, as from the hub
_SIDE = 28


class FashionMNIST(HubPictures):
    """Pictures of the hub, or of IDX files."""

    def read(self, task: TaskSettings, folder: Path, intake: Intake) -> Sequence[Example]:
        """Return one example a picture."""
        path = folder / (task.path or "")
        if task.path is not None and any(path.glob("*-ubyte.gz")):
            return self._idx_examples(task, path)
        return super().read(task, folder, intake)

    def _idx_examples(self, task: TaskSettings, path: Path) -> Sequence[Example]:
        from fedtap.data.sources.idx import read_idx

        found: list[Example] = []
        for split, prefix in _IDX:
            file = path / f"{prefix}-labels-idx1-ubyte.gz"
            pictures = read_idx(path / f"{prefix}-images-idx3-ubyte.gz", (_SIDE, _SIDE))
            labels = read_idx(file, ())
            if len(pictures) != len(labels):
                raise UserError(f"{file}: {len(labels)} labels for {len(pictures)} pictures; restore both files")
            for row, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
                if label >= len(_CLASSES):
                    last = len(_CLASSES) - 1
                    raise UserError(f"{file}: label {row} is {label}, not 0 to {last}; restore it from a whole copy")
                image = ImageRef(digest("fashion-mnist", picture.tobytes()), partial(_coloured, picture))
                target = label if task.type == "classification" else None
                found.append(Example(image.digest, image, None, target, target or 0, split))
        if not found:
            raise UserError(f"{path}: no pictures in its files; restore them from a whole copy")
        return distinct(found)


def _coloured(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return ``(28, 28)`` grey as ``(28, 28, 3)``."""
    return grey[:, :, None].repeat(3, axis=2)


FASHION_MNIST = FashionMNIST(
    "fashion_mnist",
    title="Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017)",
    licence="MIT",
    hub="zalando-datasets/fashion_mnist",  # where the hub's old name `fashion_mnist` leads
    splits={"train": "train", "test": "test"},
    classes=_CLASSES,
)
