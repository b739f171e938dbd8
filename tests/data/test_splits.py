import pytest

from fedtap.data.example import Example, Published
from fedtap.data.splits import assign, check_disjoint, published_splits, unit

SHARES = (0.6, 0.15, 0.25)


def example(key: str, split: Published | None = None) -> Example:
    return Example(key, None, "text", 0, 0, split)


def shares_of(split: Published | None) -> dict[str, float]:
    found = [assign(example(f"key {i}", split), SHARES) for i in range(8000)]
    return {name: found.count(name) / len(found) for name in ("train", "validation", "test")}


def test_shares_are_met() -> None:
    # The standard error of a share over 8000 draws is 0.0055 at most.
    assert shares_of(None) == pytest.approx({"train": 0.6, "validation": 0.15, "test": 0.25}, abs=0.02)


def test_published_test_data_stay_test_and_published_training_data_are_never_test() -> None:
    assert shares_of("test") == {"train": 0.0, "validation": 0.0, "test": 1.0}
    assert shares_of("train") == pytest.approx({"train": 0.8, "validation": 0.2, "test": 0.0}, abs=0.02)


def test_the_split_depends_on_the_key_alone() -> None:
    here = Example("key 1", None, "one text", 3, 3)
    there = Example("key 1", None, "another", "answer")
    assert assign(here, SHARES) == assign(there, SHARES)


def test_the_split_of_a_key_never_changes_between_versions() -> None:
    # A change of the hash would silently put yesterday's test examples into today's training data.
    assert [assign(example(key), SHARES) for key in "abcdefgh"] == [
        *("validation", "test", "train", "test"),
        *("train", "validation", "test", "validation"),
    ]
    assert unit("a") == pytest.approx(0.7311706134657452, abs=1e-12)


def test_what_one_source_publishes_as_test_is_test_everywhere() -> None:
    key = next(key for key in map(str, range(100)) if assign(example(key), SHARES) == "train")
    published = published_splits([example(key, "train"), example(key, "test"), example(key, "train"), example("other")])
    assert published == {key: "test"}
    assert assign(example(key), SHARES, published) == "test"
    assert assign(example(key, "train"), SHARES, published) == "test"


def test_content_in_two_splits_is_refused() -> None:
    check_disjoint([("a", "train", [example("x"), example("x")]), ("b", "train", [example("x")])])
    with pytest.raises(ValueError, match="x is train for a and test for b"):
        check_disjoint([("a", "train", [example("x")]), ("b", "test", [example("y"), example("x")])])
