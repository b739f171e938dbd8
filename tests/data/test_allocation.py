import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedtap.data.allocation import fit, mix, proportions, share_out

SIZES = st.integers(1, 200)


@pytest.mark.parametrize(
    ("demands", "available", "shares"),
    [
        ([60, 30, 10], 100, [60, 30, 10]),
        ([60, 30, 10], 1000, [60, 30, 10]),
        ([60, 30, 10], 50, [30, 15, 5]),
        ([2, 1, 1], 3, [1, 1, 1]),
        ([100, 1], 10, [9, 1]),  # 9.9 and 0.1: rounded to 10 and 0, but nobody is left with nothing
        ([5, 5, 5], 2, [1, 1, 0]),
        ([5, 5], 0, [0, 0]),
    ],
)
def test_shares_by_hand(demands: list[int], available: int, shares: list[int]) -> None:
    assert share_out(np.array(demands), available).tolist() == shares


@given(st.lists(SIZES, min_size=1, max_size=20), st.integers(0, 2000))
def test_shares_are_used_up_and_never_above_the_demand(demands: list[int], available: int) -> None:
    shares = share_out(np.array(demands), available)
    assert shares.sum() == min(sum(demands), available)
    assert (shares <= demands).all()
    assert (shares >= 0).all()
    if available >= len(demands):
        assert (shares > 0).all()


def mean_distance(concentration: float) -> float:
    """Return the mean total variation distance between drawn and natural shares."""
    natural = np.array([0.4, 0.3, 0.2, 0.1])
    draws = [proportions(natural, concentration, np.random.default_rng(seed)) for seed in range(300)]
    return float(np.mean([np.abs(draw - natural).sum() / 2 for draw in draws]))


def test_a_small_concentration_skews_and_a_large_one_does_not() -> None:
    assert mean_distance(0.1) > 0.45
    assert 0.1 < mean_distance(1.0) < 0.45
    assert mean_distance(1000.0) < 0.02


def test_the_mean_of_the_draws_is_the_natural_distribution() -> None:
    natural = np.array([0.4, 0.3, 0.2, 0.1])
    draws = np.array([proportions(natural, 1.0, np.random.default_rng(seed)) for seed in range(4000)])
    assert draws.mean(axis=0) == pytest.approx(natural, abs=0.02)


@given(
    arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([0.0, 0.1, 1.0, 5.0])),
    st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    st.integers(0, 1000),
)
def test_shares_sum_to_one_and_no_stratum_has_all(natural: np.ndarray, concentration: float, seed: int) -> None:
    if np.count_nonzero(natural) == 0:
        return
    shares = proportions(natural, concentration, np.random.default_rng(seed))
    assert shares.sum() == pytest.approx(1)
    assert (shares[natural == 0] == 0).all()
    assert shares.max() <= (
        1.0 if np.count_nonzero(natural) == 1 else max(0.9 + 1e-12, (natural / natural.sum()).max())
    )


def test_a_fit_by_hand() -> None:
    wanted = np.array([[0.5, 0.5, 0.0], [0.1, 0.1, 0.8]])
    assert fit(wanted, np.array([10, 20]), np.array([99, 99, 99])).tolist() == [[5, 5, 0], [2, 2, 16]]


def test_a_short_stratum_is_shared_and_not_served_first_come() -> None:
    # Both want 8 of stratum 0, of which there are 8: four each, and the rest from stratum 1.
    wanted = np.array([[0.8, 0.2], [0.8, 0.2]])
    assert fit(wanted, np.array([10, 10]), np.array([8, 99])).tolist() == [[4, 6], [4, 6]]


def test_what_nobody_wanted_fills_the_gap() -> None:
    assert fit(np.array([[1.0, 0.0]]), np.array([10]), np.array([7, 9])).tolist() == [[7, 3]]


def test_more_than_there_is_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="11 examples are wanted of 10"):
        fit(np.array([[0.5, 0.5]]), np.array([11]), np.array([5, 5]))


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    clients, strata = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    capacity = draw(arrays(np.int64, strata, elements=st.integers(0, 60)))
    seed, concentration = draw(st.integers(0, 999)), draw(st.sampled_from([0.02, 0.3, 10.0]))
    wanted = np.random.default_rng(seed).dirichlet([concentration] * strata, clients)
    demands = draw(arrays(np.int64, clients, elements=st.integers(1, 60)))
    return wanted, share_out(demands, int(capacity.sum())), capacity


@given(problems())
def test_rows_and_columns_of_a_fit(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    wanted, sizes, capacity = problem
    counts = fit(wanted, sizes, capacity)
    assert (counts >= 0).all()
    assert counts.sum(axis=1).tolist() == sizes.tolist()
    assert (counts.sum(axis=0) <= capacity).all()


@given(problems())
def test_mixing_keeps_the_sums_and_leaves_nobody_with_one_stratum_while_the_pool_has_another(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    wanted, sizes, capacity = problem
    counts = fit(wanted, sizes, capacity)
    mix(counts, capacity)
    assert (counts >= 0).all()
    assert counts.sum(axis=1).tolist() == sizes.tolist()
    assert (counts.sum(axis=0) <= capacity).all()
    for row in counts:
        if row.sum() >= 2 and np.count_nonzero(row) == 1:
            left = (capacity - counts.sum(axis=0))[row == 0]
            others = counts[:, row == 0]
            assert (left == 0).all(), "the pool could have served another stratum"
            assert (others < 2).all(), "another client could have swapped"


def test_a_swap_when_the_pool_is_used_up() -> None:
    counts = np.array([[4, 0], [0, 6]])
    mix(counts, np.array([4, 6]))
    assert counts.tolist() == [[3, 1], [1, 5]]
