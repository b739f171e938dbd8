from pathlib import Path

import pytest

from fedtap.data.example import Example, ImageRef, distinct, text_key
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import digest


@pytest.mark.parametrize("same", ["what is ai", "  What is\tAI ?", "WHAT, IS. AI!", "what_is--ai…", "Ｗhat is AI"])
def test_case_punctuation_and_spacing_do_not_make_another_text(same: str) -> None:
    assert text_key(same) == text_key("What is AI?")


@pytest.mark.parametrize("other", ["whatis ai", "what is a", "what is AI 2"])
def test_letters_and_digits_do_make_another_text(other: str) -> None:
    assert text_key(other) != text_key("What is AI?")


def test_texts_without_letters_are_told_apart() -> None:
    assert text_key(":-)") != text_key(":-(")


def test_an_image_file_is_known_by_its_bytes_and_not_decoded(tmp_path: Path) -> None:
    for name, content in (("a.png", b"no picture"), ("b.png", b"no picture"), ("c.png", b"another")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (ImageRef.of_file(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    assert a.digest == digest(b"no picture")
    assert a == b != c


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: the image cannot be read \(No such file"):
        ImageRef.of_file(tmp_path / "gone.png")


def test_the_first_of_equal_examples_is_kept() -> None:
    first, again = Example("k", None, "A b", 1, 1, "train"), Example("k", None, "A b", 1, 1)
    other_case, other_label = Example("k", None, "a b", 1), Example("k", None, "A b", 0)
    assert distinct([first, other_case, again, other_label]) == (first, other_case, other_label)
