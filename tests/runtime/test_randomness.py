"""Generators named by their purpose: the same name draws the same numbers, any other name others."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedtap.runtime.randomness import derive, numpy_generator, torch_generator

PURPOSES = st.tuples(st.integers(0, 5), st.lists(st.integers(0, 30).map(str) | st.text(max_size=3), max_size=3))


@given(PURPOSES, PURPOSES)
def test_a_seed_stands_for_one_purpose(one: tuple[int, list[str]], two: tuple[int, list[str]]) -> None:
    a, b = derive(one[0], *one[1]), derive(two[0], *two[1])
    assert (a == b) == (one == two)
    assert 0 <= a < 2**63


def test_seeds_do_not_change_from_one_release_to_the_next() -> None:
    assert derive(0) == 6211279573220791592
    assert derive(41, "round", 3, "client") == 151498946276488563


def test_numbers_follow_from_the_purpose_and_from_nothing_global() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    first = numpy_generator(1, "a").random(4), torch.rand(4, generator=torch_generator(1, "a"))
    np.random.seed(1)
    torch.manual_seed(1)
    second = numpy_generator(1, "a").random(4), torch.rand(4, generator=torch_generator(1, "a"))
    other = numpy_generator(1, "b").random(4), torch.rand(4, generator=torch_generator(1, "b"))
    assert np.array_equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_drawing_leaves_the_global_generators_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=torch_generator(0, "x"))
    assert torch.equal(torch.get_rng_state(), before)
