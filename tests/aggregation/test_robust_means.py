"""Robust means by hand and against NumPy and SciPy, and how every method comes by them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from builders import ToyMethod, components
from fedtap.aggregation.averaging import mean_of
from fedtap.aggregation.robust_means import krum, krum_choice, mean_rule, median, trimmed_mean
from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.registry import algorithms, make
from fedtap.components import ComponentKey, ComponentState, Held
from fedtap.scenario.safety import DefenceSettings

KEY = ComponentKey("shared")


def held(*values: float, counts: int = 1) -> Held:
    return [({"w": torch.tensor([value])}, counts) for value in values]


def rows(seed: int, n: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4, generator=draw) for _ in range(n)]


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    assert median(held(1, 900, 2, 4))["w"].tolist() == [3.0]


@given(st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_median_and_trimmed_mean_are_those_of_numpy_and_scipy(n: int, seed: int) -> None:
    values = rows(seed, n)
    given_values: Held = [({"w": value}, 1 + place) for place, value in enumerate(values)]
    stacked = np.stack([value.numpy().astype(np.float64) for value in values])
    np.testing.assert_allclose(median(given_values)["w"].numpy(), np.median(stacked, axis=0), rtol=1e-6, atol=1e-7)
    cut = min(-(-2 * n // 10), (n - 1) // 2)  # ceil(.2 n)
    expected = trim_mean(stacked, cut / n + 1e-9, axis=0)
    np.testing.assert_allclose(trimmed_mean(given_values, 0.2)["w"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_krum_by_hand() -> None:
    """Of 0, 1, 2, 4, 100 with one attacker each has two neighbours: scores 5, 2, 5, 13 and 9216 + 9604."""
    values = [{"w": torch.tensor([x])} for x in (0.0, 1.0, 2.0, 4.0, 100.0)]
    assert krum_choice(values, 1, 1) == [1]
    assert krum_choice(values, 1) == [0, 1]  # n - f - 2 = 2 are kept, the first of two that are alike
    assert krum_choice(values, 1, 4) == [0, 1, 2, 3]
    assert krum(held(0.0, 1.0, 2.0, 4.0, 100.0), 1, 4)["w"].tolist() == [1.75]


def test_krum_weighs_all_tensors_of_a_component_together() -> None:
    values = [{"a": torch.tensor([0.0]), "b": torch.tensor([x])} for x in (0.0, 0.1, 0.2)]
    values.append({"a": torch.tensor([0.1]), "b": torch.tensor([50.0])})  # in `a` alone it would be close enough
    assert 3 not in krum_choice(values, 1, 3)


@pytest.mark.parametrize("mean", ["median", "trimmed_mean", "krum"])
class TestEveryRule:
    def test_one_liar_of_five_moves_it_no_further_than_the_honest_lie(self, mean: str) -> None:
        rule = mean_rule(DefenceSettings(mean=mean))
        for lie in (-1e6, 1e6):
            assert 1 <= float(rule(held(1.0, 2.0, 3.0, 4.0, lie))["w"]) <= 4

    def test_a_claimed_number_of_examples_buys_no_influence(self, mean: str) -> None:
        rule = mean_rule(DefenceSettings(mean=mean))
        honest = held(1.0, 2.0, 3.0, 4.0)
        modest, boastful = ([*honest, ({"w": torch.tensor([9.0])}, n)] for n in (1, 10**9))
        assert torch.equal(rule(modest)["w"], rule(boastful)["w"])

    def test_of_one_or_two_holders_it_is_the_plain_mean(self, mean: str) -> None:
        rule = mean_rule(DefenceSettings(mean=mean))
        assert rule(held(5.0))["w"].tolist() == [5.0]
        assert rule(held(1.0, 4.0, counts=7))["w"].tolist() == [2.5]

    def test_it_keeps_dtype_and_shape(self, mean: str) -> None:
        values = [({"w": row.to(torch.bfloat16)}, 1) for row in rows(0, 4)]
        result = mean_rule(DefenceSettings(mean=mean))(values)["w"]
        assert (result.dtype, result.shape) == (torch.bfloat16, (3, 4))

    def test_the_product_of_low_rank_factors_is_averaged_by_it_too(self, mean: str) -> None:
        draw = torch.Generator().manual_seed(0)
        a, b = torch.randn(6, 2, generator=draw), torch.randn(2, 5, generator=draw)
        states = [
            ComponentState({KEY: {"q_A": a * spread, "q_B": b / spread if spread < 9 else -99 * b}})
            for spread in (1.0, 2.0, 4.0, 0.5, 10.0)  # four honest holders of one product, one liar
        ]
        result = mean_of([(s, {KEY: 1}) for s in states], "product", mean_rule(DefenceSettings(mean=mean)))[KEY]
        torch.testing.assert_close(result["q_A"] @ result["q_B"], a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", sorted(algorithms()))
def test_every_method_averages_by_the_rule_that_it_is_given(method: str) -> None:
    """Four honest clients and a liar; what newcomers would be sent must not follow the liar."""
    algorithm = make({}, method).averaging_by(median)
    honest = components([KEY], seed=3)
    updates = {
        f"c{place}": Update(
            honest if place < 4 else honest.map(lambda t: t + 1000), {KEY: 10 if place < 4 else 10**6}, {}
        )
        for place in range(5)
    }
    start = ServerState(components([KEY], seed=1))
    after = algorithm.aggregate(start, updates).components
    away = max(float((after[KEY][n] - start.components[KEY][n]).abs().max()) for n in after[KEY])
    assert away < 50
    plain = make({}, method).aggregate(start, updates).components
    assert any(not torch.equal(plain[KEY][n], after[KEY][n]) for n in plain[KEY])


def test_a_method_is_left_as_it_is_when_a_copy_averages_by_another_rule() -> None:
    method = ToyMethod()
    states = [(components([KEY], seed=place), {KEY: 1}) for place in range(3)]
    before = method.mean_of(states)
    other = method.averaging_by(median)
    assert other.mean_of(states)[KEY]["bias"].tolist() != before[KEY]["bias"].tolist()
    assert method.mean_of(states).equal(before)
