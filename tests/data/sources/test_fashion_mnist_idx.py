"""Fashion-MNIST from its four original files, as Debian installs them; the files are written here byte by byte."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedtap.data.sources.idx import read_idx
from fedtap.runtime.errors import UserError
from hub_folders import read


def idx(values: NDArray[np.uint8]) -> bytes:
    """Return an array in the format of the files, not yet compressed."""
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim) + b"".join(struct.pack(">I", size) for size in values.shape)
    return head + bytes(values.ravel().tolist())


def pictures(number: int, start: int = 0) -> NDArray[np.uint8]:
    """Return pictures of which no two are alike."""
    found = (np.arange(number * 784).reshape(number, 28, 28) % 251).astype(np.uint8)
    found[:, 0, 0] = range(start, start + number)
    return found


def save(folder: Path, **changes: bytes) -> Path:
    """Write six pictures for training and four for testing, the first of which is also the last for training."""
    folder.mkdir(exist_ok=True)
    train, test = pictures(6), pictures(4, start=100)
    test[0] = train[5]
    files = {
        "train-images-idx3": idx(train),
        "train-labels-idx1": idx(np.array([0, 1, 2, 9, 1, 3], dtype=np.uint8)),
        "t10k-images-idx3": idx(test),
        "t10k-labels-idx1": idx(np.array([3, 1, 0, 9], dtype=np.uint8)),
    }
    for name, content in {**files, **{key.replace("_", "-"): value for key, value in changes.items()}}.items():
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


def test_pictures_with_their_classes_and_splits(tmp_path: Path) -> None:
    examples = read("fashion_mnist", save(tmp_path), type="classification")
    # the picture that is published in both splits is test
    assert [(e.target, e.stratum, e.split) for e in examples] == [
        *((label, label, "test") for label in (3, 1, 0, 9)),
        *((label, label, "train") for label in (0, 1, 2, 9, 1)),
    ]
    for example, grey in zip(examples[4:], pictures(5), strict=True):
        assert example.image is not None
        assert np.array_equal(example.image.load(), np.stack([grey] * 3, axis=2))
        assert example.key == example.image.digest
    assert len({example.key for example in examples}) == 9


def test_pictures_to_be_drawn_again(tmp_path: Path) -> None:
    examples = read("fashion_mnist", save(tmp_path), type="reconstruction")
    assert [e.split for e in examples] == ["test"] * 4 + ["train"] * 5
    assert {(e.target, e.stratum) for e in examples} == {(None, 0)}


@given(data=st.data(), shape=st.lists(st.integers(1, 4), max_size=2), number=st.integers(0, 5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, shape: list[int], number: int
) -> None:
    sizes = (number, *shape)
    amount = int(np.prod(sizes))
    content = data.draw(st.binary(min_size=amount, max_size=amount))
    values = np.array(list(content), dtype=np.uint8).reshape(sizes)
    path = tmp_path_factory.mktemp("idx") / "values.gz"
    path.write_bytes(gzip.compress(idx(values)))
    found = read_idx(path, tuple(shape))
    assert found.shape == sizes
    assert np.array_equal(found, values)


SOUND = idx(pictures(6))


@pytest.mark.parametrize(
    ("changes", "file", "fault"),
    [
        ({"train_images_idx3": SOUND[:-1]}, "train-images-idx3", "4704 bytes are announced and only 4703 are there"),
        ({"train_images_idx3": SOUND + b"\0"}, "train-images-idx3", "4704 bytes are announced and more are there"),
        ({"train_images_idx3": SOUND[:7]}, "train-images-idx3", "not an IDX file of nx28x28 unsigned bytes"),
        ({"train_images_idx3": b"PK" + SOUND}, "train-images-idx3", "not an IDX file of nx28x28 unsigned bytes"),
        (
            {"train_images_idx3": bytes([0, 0, 13]) + SOUND[3:]},  # floating-point numbers
            "train-images-idx3",
            "not an IDX file of nx28x28 unsigned bytes",
        ),
        (
            {"t10k_images_idx3": idx(np.zeros((4, 32, 32), np.uint8))},
            "t10k-images-idx3",
            "its items have the shape (32, 32), not (28, 28)",
        ),
        ({"train_labels_idx1": SOUND}, "train-labels-idx1", "not an IDX file of n unsigned bytes"),
        (
            {"train_labels_idx1": idx(np.zeros(5, np.uint8))},
            "train-labels-idx1",
            "5 labels for 6 pictures; restore both files",
        ),
        (
            {"t10k_labels_idx1": idx(np.array([3, 1, 10, 9], np.uint8))},
            "t10k-labels-idx1",
            "label 2 is 10, not 0 to 9",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, changes: dict[str, bytes], file: str, fault: str
) -> None:
    save(tmp_path, **changes)
    place = f"{tmp_path / file}-ubyte.gz: {fault}"
    with pytest.raises(UserError, match=re.escape(place)) as error:
        read("fashion_mnist", tmp_path)
    assert "\n" not in str(error.value)
    assert re.search("; (restore|give)", str(error.value))


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(SOUND)[:-20], gzip.compress(SOUND)[:-4] + b"\1\2\3\4"]
)
def test_a_file_that_cannot_be_unpacked_is_named(tmp_path: Path, content: bytes) -> None:
    save(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: .*; restore it from a whole copy") as error:
        read("fashion_mnist", tmp_path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz: cannot be read \(No such file or directory\)"):
        read("fashion_mnist", tmp_path)


def test_files_without_pictures_are_named(tmp_path: Path) -> None:
    none, no_labels = idx(np.zeros((0, 28, 28), np.uint8)), idx(np.zeros(0, np.uint8))
    save(
        tmp_path,
        train_images_idx3=none,
        t10k_images_idx3=none,
        train_labels_idx1=no_labels,
        t10k_labels_idx1=no_labels,
    )
    with pytest.raises(UserError, match="no pictures in its files; restore them"):
        read("fashion_mnist", tmp_path)
