"""Rates by hand."""

import pytest

from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.schedule import finetune_rates, round_rate


def test_warm_up_is_linear_and_the_rest_a_cosine() -> None:
    settings = TrainingSettings(lr=0.4, warmup_rounds=4, final_ratio=0.25)
    rates = [round_rate(settings, number, 8) for number in range(1, 9)]
    # after the warm-up 1/4, 2/4, 3/4 and 4/4 of half a cosine from 0.4 down to 0.1: cos 45, 90, 135 and 180 degrees
    half = 2**-0.5
    cosine = [0.1 + 0.3 * 0.5 * (1 + c) for c in (half, 0.0, -half, -1.0)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, *cosine])


def test_warm_up_may_start_above_zero() -> None:
    settings = TrainingSettings(lr=3e-4, warmup_lr=1e-4, warmup_rounds=4, final_ratio=1.0)
    rates = [round_rate(settings, number, 6) for number in range(1, 7)]
    assert rates == pytest.approx([1.5e-4, 2e-4, 2.5e-4, 3e-4, 3e-4, 3e-4])


def test_without_warm_up_the_first_round_is_already_below_the_peak() -> None:
    settings = TrainingSettings(lr=1.0, warmup_rounds=0, final_ratio=0.0)
    assert [round_rate(settings, number, 2) for number in (1, 2)] == pytest.approx([0.5, 0.0])


def test_a_run_shorter_than_its_warm_up_never_leaves_it() -> None:
    settings = TrainingSettings(lr=1.0, warmup_rounds=5)
    assert [round_rate(settings, number, 3) for number in (1, 2, 3)] == pytest.approx([0.2, 0.4, 0.6])


@pytest.mark.parametrize(("steps", "rates"), [(0, []), (1, [2.0]), (2, [2.0, 0.2]), (4, [2.0, 1.4, 0.8, 0.2])])
def test_the_finish_falls_linearly_to_a_tenth(steps: int, rates: list[float]) -> None:
    assert finetune_rates(TrainingSettings(finetune_lr=2.0), steps) == pytest.approx(rates)
