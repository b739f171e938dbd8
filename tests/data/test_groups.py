"""Whole groups on one side: by name alone, joined where they share a content, and no split left empty where it can be helped."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtap.data.example import Example
from fedtap.data.groups import group_splits, merged

SHARES = (0.6, 0.15, 0.25)


def pool(*contents: tuple[str, str | None]) -> list[Example]:
    return [Example(key, None, key, 0, group=group) for key, group in contents]


def test_without_groups_nothing_is_decided() -> None:
    assert group_splits([pool(("a", None))], SHARES, {}) == {}


def test_a_group_is_on_one_side_in_every_task_and_at_every_client() -> None:
    names = [f"p{n}" for n in range(40)]
    first, second = pool(*((f"a{name}", name) for name in names)), pool(*((f"b{name}", name) for name in names[::-1]))
    found = group_splits([first, second], SHARES, {})
    assert all(found[f"a{name}"] == found[f"b{name}"] for name in names)
    alone = group_splits([second], SHARES, {})
    assert alone == {key: split for key, split in found.items() if key.startswith("b")}
    assert set(found.values()) == {"own_train", "own_validation", "test"}


def test_groups_that_share_a_content_go_together() -> None:
    names = [f"p{n}" for n in range(30)]
    chain = [(f"c{n}", names[n + more]) for n in range(29) for more in (0, 1)]
    assert len({example.group for example in merged(pool(*chain))}) == 1
    across = [pool(*chain[::2]), pool(*chain[1::2])]
    assert len(set(group_splits(across, SHARES, {}).values())) == 1


def test_a_group_is_in_the_strictest_split_of_its_contents() -> None:
    examples = pool(("a", "p"), ("b", "p"), ("c", "q"), ("d", "q"))
    found = group_splits([examples], SHARES, {"a": "train", "b": "test", "c": "own_train", "d": "own_validation"})
    assert found == {"a": "test", "b": "test", "c": "own_validation", "d": "own_validation"}


def test_published_training_data_never_become_test_data() -> None:
    examples = pool(*((f"c{n}", f"p{n}") for n in range(30)))
    found = group_splits([examples], SHARES, {example.key: "train" for example in examples})
    assert set(found.values()) == {"own_train", "own_validation"}


@pytest.mark.parametrize("names", list(itertools.combinations("abcdefg", 3)))
def test_three_groups_are_enough_for_three_splits(names: tuple[str, ...]) -> None:
    found = group_splits([pool(*((f"{name}{n}", name) for name in names for n in range(4)))], SHARES, {})
    assert set(found.values()) == {"own_train", "own_validation", "test"}


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.sampled_from([None, *"12345678"])), max_size=12),
        min_size=1,
        max_size=3,
    )
)
def test_no_group_is_ever_divided(contents: list[list[tuple[str, str | None]]]) -> None:
    pools = [pool(*each) for each in contents]
    found = group_splits(pools, SHARES, {})
    sides: dict[str, set[str]] = {}
    for example in itertools.chain.from_iterable(pools):
        if example.group is not None:
            sides.setdefault(example.group, set()).add(found[example.key])
    assert all(len(splits) == 1 for splits in sides.values())
