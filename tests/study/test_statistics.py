"""Gains and intervals against hand computation, SciPy and slow literal implementations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fedtap.runtime.errors import UserError
from fedtap.study.statistics import (
    Run,
    bootstrap_interval,
    client_task_gains,
    interval,
    proportion_interval,
    relative_gain,
    summarise,
)

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
PRIMARY = {"digits": "accuracy", "pictures": "mse"}
FAMILIES = {"digits": "image_classification", "pictures": "image_generation"}
DEPLOYED = {"local": "personal", "fedavg": "federated", "tap": "personal"}

Cells = dict[tuple[int, str], list[float]]


def row(client: str, task: str, value: float, model: str = "personal", **changes: Any) -> dict[str, Any]:
    made = {"client": client, "task": task, "family": FAMILIES[task], "model": model, "split": "test"}
    return {**made, "metric": PRIMARY[task], "value": value, "n": 100, **changes}


def compared(runs: list[Run], method: str) -> list[tuple[Any, ...]]:
    gains = client_task_gains(runs, method, deployed=DEPLOYED, primary=PRIMARY)
    return [(gain.seed, gain.client, gain.task, gain.percent, gain.better) for gain in gains]


def crossed(generator: np.random.Generator, seeds: int, clients: int, mean: float = 0.0) -> Cells:
    """Return one gain a cell: mean + a seed's effect + a client's effect + noise, all standard normal."""
    gains = mean + generator.normal(size=(seeds, 1)) + generator.normal(size=clients)
    gains = gains + generator.normal(size=(seeds, clients))
    return {(s, f"c{c:02d}"): [float(gains[s, c])] for s in range(seeds) for c in range(clients)}


class TestRelativeGain:
    @pytest.mark.parametrize(
        ("value", "base", "higher", "percent"),
        [
            (0.9, 0.6, True, 50),
            (0.6, 0.9, True, -100 / 3),
            (0.1, 0.2, False, 50),
            (0.3, 0.2, False, -50),
            (1, -2, True, 150),
        ],
    )
    def test_by_hand(self, value: float, base: float, higher: bool, percent: float) -> None:
        assert relative_gain(value, base, higher) == pytest.approx(percent)

    @pytest.mark.parametrize("value", [0.0, 0.5])
    def test_over_nothing_it_is_undefined(self, value: float) -> None:
        assert relative_gain(value, 0.0, True) is None

    @given(FINITE, FINITE.filter(lambda base: abs(base) > 1e-3))
    def test_positive_is_better(self, value: float, base: float) -> None:
        up, down = relative_gain(value, base, True), relative_gain(value, base, False)
        assert up is not None
        assert down == -up
        assert (up > 0) == (value > base)

    @pytest.mark.parametrize("value", [math.inf, math.nan])
    def test_what_is_not_finite_is_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="finite"):
            relative_gain(value, 1.0, True)


class TestGains:
    def test_deployed_model_on_the_primary_metric_only(self) -> None:
        local = [row("a", "digits", 0.5), row("a", "pictures", 0.2), row("b", "digits", 0.8)]
        other = [
            row("b", "digits", 0.4, "federated"),
            row("a", "pictures", 0.1, "federated"),
            row("a", "digits", 0.75, "federated"),
            row("a", "digits", 0.1, "finetuned"),
            row("a", "digits", 0.1, "federated", split="cross"),
            row("a", "digits", 9.9, "federated", metric="cross_entropy"),
        ]
        runs = [Run("fedavg", 0, other), Run("local", 0, local)]
        assert compared(runs, "fedavg") == [
            (0, "a", "digits", pytest.approx(50), 1),
            (0, "a", "pictures", pytest.approx(50), 1),
            (0, "b", "digits", pytest.approx(-50), -1),
        ]

    def test_each_seed_is_compared_with_its_own_base(self) -> None:
        runs = [
            Run(method, seed, [row("a", "digits", value)])
            for method, seed, value in [("local", 0, 0.5), ("local", 1, 0.8), ("tap", 1, 0.8), ("tap", 0, 0.6)]
        ]
        assert compared(runs, "tap") == [(0, "a", "digits", pytest.approx(20), 1), (1, "a", "digits", 0, 0)]

    def test_a_win_over_nothing_is_a_win_without_a_percentage(self) -> None:
        runs = [Run("local", 0, [row("a", "digits", 0.0)]), Run("tap", 0, [row("a", "digits", 0.3)])]
        assert compared(runs, "tap") == [(0, "a", "digits", None, 1)]

    def test_a_method_may_not_be_silent_about_a_client(self) -> None:
        runs = [
            Run("local", 0, [row("a", "digits", 0.5), row("b", "digits", 0.5)]),
            Run("tap", 0, [row("a", "digits", 0.9)]),
        ]
        with pytest.raises(UserError, match="'tap' has no result for seed 0, client 'b'"):
            compared(runs, "tap")

    def test_a_seed_without_a_base_is_refused(self) -> None:
        runs = [Run("local", 0, [row("a", "digits", 0.5)])]
        runs += [Run("tap", seed, [row("a", "digits", 0.9)]) for seed in (0, 1)]
        with pytest.raises(UserError, match="'local' has no result for seed 1"):
            compared(runs, "tap")

    def test_no_base_at_all_is_refused(self) -> None:
        with pytest.raises(UserError, match="method 'local' has no run"):
            compared([Run("tap", 0, [row("a", "digits", 0.9)])], "tap")

    def test_a_run_given_twice_is_refused(self) -> None:
        local, tap = (Run(method, 0, [row("a", "digits", 0.9)]) for method in ("local", "tap"))
        with pytest.raises(UserError, match="'tap', seed 0: two results for client 'a'"):
            compared([local, tap, tap], "tap")


class TestBootstrap:
    def test_agrees_with_resampling_one_by_one(self) -> None:
        generator = np.random.default_rng(0)
        cells = crossed(generator, 4, 6)
        cells[0, "c00"] += [3.0, -2.0]  # a client of three tasks
        cells[2, "c03"] = []  # and one whose gain is undefined with one seed
        means = []
        for _ in range(4000):
            seeds, clients = generator.integers(4, size=4), generator.integers(6, size=6)
            drawn = [gain for s in seeds for c in clients for gain in cells[int(s), f"c{c:02d}"]]
            means.append(np.mean(drawn))
        expected = np.quantile(means, [0.025, 0.975])
        np.testing.assert_allclose(bootstrap_interval(cells), expected, atol=0.12)

    @settings(max_examples=40, deadline=None)
    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 3), st.sampled_from("abcdef")), st.lists(FINITE, min_size=1, max_size=3)
        )
    )
    def test_it_contains_the_mean(self, cells: Cells) -> None:
        found = bootstrap_interval(cells, draws=2000)
        if found is None:
            assert len({c for _, c in cells}) < 5
        else:
            assert len({c for _, c in cells}) >= 5
            mean = np.mean([gain for values in cells.values() for gain in values])
            assert found[0] - 1e-6 <= mean <= found[1] + 1e-6

    def test_it_is_half_as_wide_with_four_times_the_clients_and_seeds(self) -> None:
        cells = crossed(np.random.default_rng(1), 5, 6)
        more = {
            (5 * i + seed, f"{client}-{j}"): values
            for (seed, client), values in cells.items()
            for i in range(4)
            for j in range(4)
        }
        wide, narrow = bootstrap_interval(cells), bootstrap_interval(more)
        assert wide is not None
        assert narrow is not None
        # a little less than half: the share of the noise within cells falls with the number of cells
        assert 0.4 < (narrow[1] - narrow[0]) / (wide[1] - wide[0]) < 0.53

    def test_tasks_of_one_client_are_no_independent_evidence(self) -> None:
        cells = crossed(np.random.default_rng(2), 3, 5)
        fourfold = {key: values * 4 for key, values in cells.items()}
        assert bootstrap_interval(fourfold) == pytest.approx(bootstrap_interval(cells))

    def test_clients_of_one_seed_are_no_independent_evidence(self) -> None:
        # only the seeds differ: with five clients or twenty, there are three observations
        effects = [0.0, 1.0, 5.0]
        few, many = ({(s, f"c{c}"): [effects[s]] for s in range(3) for c in range(clients)} for clients in (5, 20))
        assert bootstrap_interval(many) == pytest.approx((0.0, 5.0)) == bootstrap_interval(few)

    def test_one_seed_leaves_the_clients_to_resample(self) -> None:
        values = [1.0, 2.0, 4.0, 5.0, 9.0]
        one_seed = bootstrap_interval({(0, f"c{i}"): [value] for i, value in enumerate(values)})
        assert one_seed == pytest.approx(interval(values), abs=0.3)

    @pytest.mark.parametrize("seeds", [1, 3])
    def test_fewer_than_five_clients_give_no_interval_however_many_seeds_and_tasks(self, seeds: int) -> None:
        four = {(seed, client): [1.0, 2.0, 4.0 + seed] for seed in range(seeds) for client in "abcd"}
        assert bootstrap_interval(four) is None
        assert bootstrap_interval({**four, (0, "e"): []}) is None  # a fifth without results is none
        assert bootstrap_interval({**four, (0, "e"): [1.0]}) is not None
        assert bootstrap_interval({}) is None

    def test_order_does_not_matter_and_the_seed_does(self) -> None:
        cells = crossed(np.random.default_rng(3), 3, 7)
        backwards = dict(reversed(cells.items()))
        assert bootstrap_interval(cells, seed=5) == bootstrap_interval(backwards, seed=5)
        assert bootstrap_interval(cells, seed=5) != bootstrap_interval(cells, seed=6)

    def test_coverage_on_crossed_normals(self) -> None:
        generator = np.random.default_rng(4)
        found = [bootstrap_interval(crossed(generator, 10, 15, mean=2.0), draws=400) for _ in range(300)]
        covered = np.mean([pair is not None and pair[0] <= 2.0 <= pair[1] for pair in found])
        assert 0.87 <= covered <= 0.99

    def test_a_naive_interval_would_not_cover(self) -> None:
        """The reason for the crossed bootstrap: single gains resampled as if independent."""
        generator = np.random.default_rng(5)
        naive = [interval([gain for (gain,) in crossed(generator, 10, 15).values()], draws=400) for _ in range(200)]
        assert np.mean([pair is not None and pair[0] <= 0 <= pair[1] for pair in naive]) < 0.75


class TestInterval:
    def test_standard_error_of_many_values(self) -> None:
        values = np.random.default_rng(0).normal(3, 2, size=400)
        half = 1.96 * values.std() / 20
        assert interval(values.tolist()) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)

    def test_coverage(self) -> None:
        generator = np.random.default_rng(1)
        found = [interval(generator.normal(size=40).tolist(), draws=400) for _ in range(400)]
        assert 0.90 <= np.mean([pair is not None and pair[0] <= 0 <= pair[1] for pair in found]) <= 0.98

    @pytest.mark.parametrize("values", [[], [1.0]])
    def test_too_few_values_give_none(self, values: list[float]) -> None:
        assert interval(values) is None


class TestProportion:
    @pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 2), (37, 120), (999, 1000)])
    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_agrees_with_scipy(self, k: int, n: int, level: float) -> None:
        expected = binomtest(k, n).proportion_ci(level, method="wilson")
        assert proportion_interval(k, n, level=level) == pytest.approx((expected.low, expected.high))

    @pytest.mark.parametrize(("k", "n"), [(1, 0), (3, 2), (-1, 2)])
    def test_no_proportion_is_refused(self, k: int, n: int) -> None:
        with pytest.raises(ValueError, match="expected a count"):
            proportion_interval(k, n)


class TestSummarise:
    def runs(self) -> list[Run]:
        """Two seeds; clients a (two tasks) and b to e, who are alike.

        Gains of tap in percent: a digits 20, 40; a pictures 50, 50; the others 0, -10.
        """
        local = [row("a", "digits", 0.5), row("a", "pictures", 0.2), *(row(name, "digits", 0.8) for name in "bcde")]
        first = [row("a", "digits", 0.6), row("a", "pictures", 0.1), *(row(name, "digits", 0.8) for name in "bcde")]
        second = [row("a", "digits", 0.7), row("a", "pictures", 0.1), *(row(name, "digits", 0.72) for name in "bcde")]
        return [Run("tap", 0, first), Run("local", 0, local), Run("local", 1, local), Run("tap", 1, second)]

    def test_by_hand(self) -> None:
        (summary,) = summarise(self.runs(), deployed=DEPLOYED, primary=PRIMARY)
        low, high = summary.pop("ci95")
        assert summary == {
            "method": "tap",
            "delta_percent": pytest.approx((20 + 40 + 50 + 50 + 4 * (0 - 10)) / 12),
            "wins": 4,
            "losses": 4,
            "n": 12,
            "undefined": 0,
            "worst_decile": pytest.approx(-5),  # the digits of one of the four, the mean of both seeds
            "seeds": 2,
            "excluded": [],
        }
        # the lowest draws have seed 1 twice and never client a: 0.25 x 0.8^5, more than one in forty
        assert low == pytest.approx(-10)
        # with seed 1 twice and client a three times of five, gains are (6 x 45 + 2 x -10) / 8 = 31.25: one in a hundred
        assert 15 < high < 31.25

    def test_without_a_family(self) -> None:
        (summary,) = summarise(self.runs(), exclude_families={"image_generation"}, deployed=DEPLOYED, primary=PRIMARY)
        assert summary["delta_percent"] == pytest.approx((20 + 40 + 4 * (0 - 10)) / 10)
        assert (summary["n"], summary["wins"], summary["excluded"]) == (10, 2, ["image_generation"])

    def test_undefined_gains_count_as_wins_but_not_in_the_mean(self) -> None:
        local = [row("a", "digits", 0.0), row("b", "digits", 0.5)]
        ours = [row("a", "digits", 0.4), row("b", "digits", 0.4)]
        (summary,) = summarise([Run("local", 0, local), Run("tap", 0, ours)], deployed=DEPLOYED, primary=PRIMARY)
        assert summary["delta_percent"] == pytest.approx(-20)
        assert (summary["n"], summary["undefined"], summary["wins"], summary["losses"]) == (2, 1, 1, 1)
        assert summary["ci95"] is None

    def test_nothing_left_is_none(self) -> None:
        (summary,) = summarise(self.runs(), exclude_families=set(FAMILIES.values()), deployed=DEPLOYED, primary=PRIMARY)
        assert (summary["delta_percent"], summary["ci95"], summary["worst_decile"], summary["n"]) == (
            None,
            None,
            None,
            0,
        )

    def test_worst_decile_is_the_worst_tenth(self) -> None:
        clients = [f"c{i:02d}" for i in range(20)]
        local = [row(client, "digits", 0.5) for client in clients]
        ours = [row(client, "digits", 0.5 + i / 100) for i, client in enumerate(clients)]
        (summary,) = summarise([Run("local", 0, local), Run("tap", 0, ours)], deployed=DEPLOYED, primary=PRIMARY)
        assert summary["worst_decile"] == pytest.approx((0 + 2) / 2)

    def test_one_row_a_method_in_the_order_of_the_runs(self) -> None:
        runs = [Run(method, 0, [row("a", "digits", 0.5, DEPLOYED[method])]) for method in ("tap", "local", "fedavg")]
        assert [summary["method"] for summary in summarise(runs, deployed=DEPLOYED, primary=PRIMARY)] == [
            "tap",
            "fedavg",
        ]
