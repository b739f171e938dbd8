"""Rows of a split, read a batch at a time: what is read for a row is that row's, whatever the batches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.data.sources.hub import rows as hub_rows
from fedtap.data.sources.hub.rows import Label, Picture, Text, rows
from fedtap.runtime.errors import UserError
from hub_folders import data_set, picture, png

SHADES = [png(picture(shade)) for shade in range(12)]


@given(shades=st.lists(st.integers(0, 11), min_size=1, max_size=12), batch=st.integers(1, 5), reverse=st.booleans())
def test_every_picture_is_that_of_its_row(shades: list[int], batch: int, reverse: bool) -> None:
    split = data_set("tiny_imagenet", {"train": [{"image": SHADES[shade], "label": shade} for shade in shades]})[
        "train"
    ]
    if reverse:  # a data set may be a view of another
        split, shades = split.select(range(len(shades) - 1, -1, -1)), shades[::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_rows, "BATCH", batch)
        found = list(rows(split, {"label": Label(200), "image": Picture()}, place="d, split 'train'"))
    assert [row["label"] for row in found] == shades
    assert [row.place for row in found] == [f"d, split 'train', row {index}" for index in range(len(shades))]
    for row, shade in zip(found, shades, strict=True):
        assert np.array_equal(row["image"].load(), picture(shade))
    assert len({row["image"].digest for row in found}) == len(set(shades))


@given(st.lists(st.one_of(st.none(), st.text()), min_size=1, max_size=8))
def test_texts_come_back_without_the_blanks_around_them(texts: list[str | None]) -> None:
    column = [text if text is None else text.encode("utf-8", "replace").decode() for text in texts]
    split = data_set("ag_news", {"train": [{"title": t, "description": "d", "label": 1} for t in column]})["train"]
    found = [row["title"] for row in rows(split, {"title": Text(needed=False)}, place="d")]
    assert found == [(text or "").strip() for text in column]


@given(value=st.one_of(st.none(), st.integers(-5, 15)), count=st.integers(2, 9), first=st.integers(0, 2))
def test_a_label_is_a_class_or_a_fault(value: int | None, count: int, first: int) -> None:
    split = data_set("ag_news", {"train": [{"title": "t", "description": "d", "label": value}]})["train"]

    def read() -> Any:
        return [row["label"] for row in rows(split, {"label": Label(count, first)}, place="d")]

    if value is not None and value in range(first, first + count):
        assert read() == [value - first]
    else:
        with pytest.raises(UserError, match=rf"^d, row 0: 'label' is .*, not {first} to {first + count - 1}; mend it"):
            read()
