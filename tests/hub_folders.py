"""Small data sets with exactly the columns, kinds of columns and splits that those of the paper's federations have on the hub."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from datasets import Sequence as Several
from numpy.typing import NDArray
from PIL import Image as Pillow

from fedtap.data.example import Example
from fedtap.data.sources import source
from fedtap.scenario.scenario import TaskSettings


def task(name: str, path: Path | str | None = None, **changes: Any) -> TaskSettings:
    """Return a task on a source, of the first type and modality that it serves."""
    kind, modality = sorted(source(name).supports)[0]
    given = {"name": "t", "type": kind, "modality": modality, "domain": "d", "source": name}
    return TaskSettings.model_validate(given | ({} if path is None else {"path": str(path)}) | changes)


def _names(name: str) -> list[str]:
    return list(source(name).classes(task(name)))


TEXT, NUMBER = Value("string"), Value("int64")
# fmt: off
_FASHION = (
    "T - shirt / top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)
# fmt: on
FEATURES: Mapping[str, Mapping[str, Any]] = {
    "ag_news": {"label": NUMBER, "title": TEXT, "description": TEXT},
    "tiny_imagenet": {"image": Image(), "label": ClassLabel(names=_names("tiny_imagenet"))},
    "cifar100": {
        "img": Image(),
        "fine_label": ClassLabel(names=_names("cifar100")),
        "coarse_label": ClassLabel(num_classes=20),
    },
    "caltech256": {"image": Image(), "label": NUMBER, "text": TEXT},
    "fashion_mnist": {"image": Image(), "label": ClassLabel(names=list(_FASHION))},
    "vqa_v2": {"multiple_choice_answer": TEXT, "question": TEXT, "image": Image()},
    "mmlu": {"question": TEXT, "subject": TEXT, "choices": Several(TEXT), "answer": ClassLabel(names=list("ABCD"))},
    "common_gen": {"concept_set_idx": Value("int32"), "concepts": Several(TEXT), "target": TEXT},
}
"""The columns by data set, as its card on the hub lists them."""

Rows = Sequence[Mapping[str, Any]]


def features(name: str) -> Features:
    """Return the columns of a source's data set; the three subjects of MMLU have the same."""
    return Features(dict(FEATURES["mmlu" if name.startswith("mmlu") else name]))


def data_set(name: str, splits: Mapping[str, Rows]) -> DatasetDict:
    """Return the splits of a data set, in memory."""
    kinds = features(name)
    columns = {split: {column: [row[column] for row in rows] for column in kinds} for split, rows in splits.items()}
    return DatasetDict({split: Dataset.from_dict(rows, features=kinds) for split, rows in columns.items()})


def write(folder: Path, name: str, splits: Mapping[str, Rows]) -> Path:
    """Write the splits as one writes what one has of the hub, and return the folder."""
    data_set(name, splits).save_to_disk(folder)
    return folder


def read(name: str, path: Path | str | None, **changes: Any) -> tuple[Example, ...]:
    """Return the examples of a source, its task checked first."""
    settings = task(name, path, **changes)
    source(name).check(settings)
    return tuple(source(name).examples(settings, Path("/nowhere")))


def picture(shade: int, *, side: int = 8, mode: str = "RGB") -> NDArray[np.uint8]:
    """Return pixels that differ by shade, ``(side, side, 3)``, or ``(side, side)`` in mode "L"."""
    shape = (side, side) if mode == "L" else (side, side, 3)
    return (np.arange(np.prod(shape)).reshape(shape) * 7 + shade).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """Return pixels as the feature Image stores them: a file's bytes, and no path."""
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, format="PNG")
    return {"bytes": file.getvalue(), "path": None}
