"""Two methods against each other: by hand, against SciPy, and against a literal analysis of variance."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from fedtap.study.paired import compare_pair, holm, two_way_p
from fedtap.study.statistics import Gain

Cells = dict[tuple[int, str], list[float]]


def gain(client: str, value: float, percent: float | None, *, seed: int = 0, task: str = "digits") -> Gain:
    metric = "mse" if task == "redraw" else "accuracy"
    return Gain(seed, client, task, "family", metric, value, 0.5, percent, 0)


def cells_of(table: np.ndarray) -> Cells:
    return {(s, f"c{c:02d}"): [float(table[s, c])] for s in range(table.shape[0]) for c in range(table.shape[1])}


def anova_p(table: np.ndarray) -> float:
    """The same test, written out literally for a full table: sums of squares, quasi-F, Satterthwaite."""
    rows, columns = table.shape
    mean = sum(table[i][j] for i in range(rows) for j in range(columns)) / (rows * columns)
    row_means = [sum(table[i]) / columns for i in range(rows)]
    column_means = [sum(table[i][j] for i in range(rows)) / rows for j in range(columns)]
    ms_r = columns * sum((m - mean) ** 2 for m in row_means) / (rows - 1)
    ms_c = rows * sum((m - mean) ** 2 for m in column_means) / (columns - 1)
    residuals = [table[i][j] - row_means[i] - column_means[j] + mean for i in range(rows) for j in range(columns)]
    ms_e = sum(r**2 for r in residuals) / ((rows - 1) * (columns - 1))
    if ms_r > ms_e:
        variance = ms_c + ms_r - ms_e
        df = variance**2 / (ms_c**2 / (columns - 1) + ms_r**2 / (rows - 1) + ms_e**2 / ((rows - 1) * (columns - 1)))
    else:
        variance, df = ms_c, columns - 1.0
    return float(2 * stats.t.cdf(-abs(mean) / math.sqrt(variance / (rows * columns)), df))


class TestTwoWay:
    def test_one_seed_is_the_one_sample_t_test_on_clients(self) -> None:
        values = [1.0, -0.5, 2.0, 3.0]
        p = two_way_p({(0, f"c{i}"): [value] for i, value in enumerate(values)})
        assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)

    def test_one_client_is_the_one_sample_t_test_on_seeds(self) -> None:
        values = [1.0, 0.5, 2.0]
        assert two_way_p({(s, "a"): [v] for s, v in enumerate(values)}) == pytest.approx(
            stats.ttest_1samp(values, 0).pvalue
        )

    @pytest.mark.parametrize("effect", [0.0, 0.5, 2.0])
    def test_a_full_table_is_the_analysis_of_variance(self, effect: float) -> None:
        draw = np.random.default_rng(int(10 * effect))
        table = 0.4 + effect * draw.normal(size=(3, 1)) + draw.normal(size=(1, 6)) + draw.normal(size=(3, 6))
        assert two_way_p(cells_of(table)) == pytest.approx(anova_p(table))

    def test_copies_of_a_task_prove_nothing_more(self) -> None:
        """A client with the same answer on three tasks is one client, when all have three."""
        one: Cells = {(0, "a"): [1.0], (0, "b"): [2.0], (0, "c"): [-0.5]}
        assert two_way_p({key: values * 3 for key, values in one.items()}) == pytest.approx(two_way_p(one))

    def test_what_all_say_is_certain_and_nothing_is_not(self) -> None:
        assert two_way_p({(0, "a"): [2.0], (0, "b"): [2.0]}) == 0.0
        assert two_way_p({(0, "a"): [0.0], (0, "b"): [0.0], (1, "a"): [0.0], (1, "b"): [0.0]}) == 1.0
        assert two_way_p({(0, "a"): [2.0, 1.0]}) is None
        assert two_way_p({}) is None

    def test_it_errs_as_often_as_it_says_where_seeds_matter(self) -> None:
        draw = np.random.default_rng(0)
        tables = draw.normal(size=(300, 5, 1)) + draw.normal(size=(300, 1, 10)) + draw.normal(size=(300, 5, 10))
        errors = np.mean([(two_way_p(cells_of(table)) or 0) < 0.05 for table in tables])
        assert 0.02 <= errors <= 0.08

    @settings(max_examples=30)
    @given(st.lists(st.floats(-100, 100), min_size=6, max_size=6), st.floats(0.1, 10))
    @example([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 0.875)
    def test_units_do_not_matter(self, values: list[float], scale: float) -> None:
        table = np.round(np.array(values), 3).reshape(2, 3)
        p, scaled = two_way_p(cells_of(table)), two_way_p(cells_of(scale * table))
        assert p is not None
        assert 0 <= p <= 1
        assert scaled == pytest.approx(p, abs=1e-6)


class TestHolm:
    def test_the_textbook_case(self) -> None:
        # sorted: .005 * 4, .01 * 3, .03 * 2, .04 * 1 -> the last is raised to the one before it
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
    def test_it_rejects_what_the_step_down_procedure_rejects(self, ps: list[float], level: float) -> None:
        rejected = set()
        for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
            if ps[place] * (len(ps) - rank) > level:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(holm(ps)) if p is not None and p <= level} == rejected

    def test_what_was_not_tested_does_not_count(self) -> None:
        assert holm([None, 0.02, None]) == [None, 0.02, None]
        assert holm([]) == []


class TestComparePair:
    def test_by_hand(self) -> None:
        ours = [gain("a", 0.6, 20.0), gain("a", 0.4, 20.0, task="redraw"), gain("b", 0.5, 0.0), gain("c", 0.9, None)]
        theirs = [gain("a", 0.5, 0.0), gain("a", 0.3, 40.0, task="redraw"), gain("b", 0.5, 0.0), gain("c", 0.8, None)]
        pair = compare_pair(ours, theirs)
        # 20 - 0, 20 - 40, 0 - 0; c has no percentage, and counts as a win; redraw's lower value is theirs
        assert pair.difference == pytest.approx(0.0)
        assert (pair.wins, pair.losses, pair.n) == (2, 1, 4)

    def test_only_what_both_have_counts(self) -> None:
        pair = compare_pair([gain("a", 0.6, 20.0), gain("b", 0.6, 20.0)], [gain("b", 0.5, 5.0)])
        assert (pair.difference, pair.n, pair.ci95, pair.p) == (15.0, 1, None, None)

    def test_the_other_way_round_is_the_opposite(self) -> None:
        draw = np.random.default_rng(3)
        sides = [
            [gain(f"c{c}", draw.random(), 10 * draw.normal(), seed=s) for s in range(3) for c in range(5)]
            for _ in range(2)
        ]
        there, back = compare_pair(sides[0], sides[1]), compare_pair(sides[1], sides[0])
        assert there.difference is not None
        assert there.difference == pytest.approx(-(back.difference or 0))
        assert there.p == pytest.approx(back.p)
        assert (there.wins, there.losses) == (back.losses, back.wins)
        assert there.ci95 == pytest.approx([-end for end in reversed(back.ci95 or ())])
