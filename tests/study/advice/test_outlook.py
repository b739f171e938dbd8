"""How many seeds would tell two methods apart: against a literal search over the variance, and where none would."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from fedtap.study.advice.outlook import seeds_to_tell
from fedtap.study.paired import mean_squares

Cells = dict[tuple[int, str], list[float]]


def cells_of(table: np.ndarray) -> Cells:
    return {(s, f"c{c}"): [float(table[s, c])] for s in range(table.shape[0]) for c in range(table.shape[1])}


def searched(table: np.ndarray) -> int:
    """Return the least number of seeds whose mean has a variance that is small enough; components by moments, written out."""
    seeds, clients = table.shape
    mean = table.mean()
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + mean
    of_rest = (rest**2).sum() / (seeds - 1) / (clients - 1)
    of_clients = max(0.0, table.mean(axis=0).var(ddof=1) - of_rest / seeds)
    of_seeds = max(0.0, table.mean(axis=1).var(ddof=1) - of_rest / clients)
    far = stats.t.ppf(0.975, clients - 1) + NormalDist().inv_cdf(0.8)
    return next(
        more
        for more in range(seeds + 1, 10_000)
        if mean**2 >= far**2 * (of_clients / clients + of_seeds / more + of_rest / clients / more)
    )


@pytest.mark.parametrize("key", range(4))
def test_it_is_the_least_number_whose_variance_is_small_enough(key: int) -> None:
    draw = np.random.default_rng(key)
    table = 2 + 3 * draw.normal(size=(3, 1)) + 0.3 * draw.normal(size=(1, 8)) + 2 * draw.normal(size=(3, 8))
    assert seeds_to_tell(cells_of(table)) == searched(table)


def test_where_clients_differ_more_than_the_difference_is_large_no_number_of_seeds_is_enough() -> None:
    draw = np.random.default_rng(0)
    table = 1 + 10 * draw.normal(size=(1, 6)) + 0.1 * draw.normal(size=(4, 6))
    assert seeds_to_tell(cells_of(table)) is None


def test_what_one_seed_or_one_client_or_no_difference_cannot_tell() -> None:
    assert seeds_to_tell({(0, "a"): [1.0], (0, "b"): [3.0]}) is None
    assert seeds_to_tell({(0, "a"): [1.0], (1, "a"): [3.0]}) is None
    assert seeds_to_tell({(0, "a"): [1.0], (0, "b"): [-1.0], (1, "a"): [-1.0], (1, "b"): [1.0]}) is None
    assert seeds_to_tell({}) is None


def test_the_mean_squares_are_those_of_the_test() -> None:
    table = np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 5.0]])
    found = mean_squares(cells_of(table))
    assert found is not None
    # means of clients 1.5, 2, 4.5; of seeds 7/3, 3; of all 8/3; rests of +-1/6, -1/3, 1/6
    assert found.mean == pytest.approx(8 / 3)
    assert found.of_clients == pytest.approx(2 * ((7 / 6) ** 2 + (2 / 3) ** 2 + (11 / 6) ** 2) / 2)
    assert found.of_seeds == pytest.approx(3 * 2 * (1 / 3) ** 2 / 1)
    assert found.of_rest == pytest.approx(2 * (2 * (1 / 6) ** 2 + (1 / 3) ** 2) / 2)
    assert (found.seeds, found.clients) == (2, 3)
