"""What a gate can promise: the table of docs/theory.md, simulated; and that asking one split often is paid for."""

from math import log, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.theory.gate import sure_gain, worst_harm

TABLE = {0.5: (0.170, 0.170), 0.2: (0.045, 0.438), 0.1: (0.019, 0.641), 0.05: (0.008, 0.837), 0.01: (0.001, 1.264)}


@pytest.mark.parametrize("alpha", TABLE)
def test_the_table(alpha: float) -> None:
    assert (worst_harm(alpha), worst_harm(1 - alpha)) == pytest.approx(TABLE[alpha], abs=6e-4)


@given(st.floats(0.001, 0.999))
def test_no_effect_is_worse_than_the_worst(alpha: float) -> None:
    z = NormalDist().inv_cdf(1 - alpha)
    tried = [y * NormalDist().cdf(-z - y) for y in np.linspace(0, 8, 400)]
    assert max(tried) <= worst_harm(alpha) + 1e-12
    assert max(tried) == pytest.approx(worst_harm(alpha), rel=2e-3)


def test_margin_0_has_the_least_worst_case() -> None:
    worst = {alpha: max(worst_harm(alpha), worst_harm(1 - alpha)) for alpha in np.linspace(0.05, 0.95, 19).round(2)}
    assert min(worst, key=lambda alpha: worst[alpha]) == 0.5


def test_the_harm_is_what_draws_of_examples_show() -> None:
    """At the worst effect a margin of 0 opens wrongly so often that |mu| times that share is .170 s / sqrt(n)."""
    rng, n, s = np.random.default_rng(0), 25, 2.0
    effects = np.linspace(0.1, 2.5, 25) * s / sqrt(n)
    seen = [mu * (rng.normal(-mu, s, (4000, n)).mean(1) > 0).mean() for mu in effects]
    assert max(seen) == pytest.approx(worst_harm(0.5) * s / sqrt(n), rel=0.05)


def test_the_gain_to_be_sure_of_all_verdicts_by_hand() -> None:
    assert sure_gain(200, 1, 0.5) == pytest.approx(sqrt(2 * log(2) / 400))
    assert sure_gain(48, 15, 0.1) == pytest.approx(sqrt((15 * log(2) + log(10)) / 96))


def test_adaptive_verdicts_are_all_right_beyond_it() -> None:
    """An adversary asks one split twelve times, each time about the best that it has learned; no gate at the bound is fooled."""
    rng, n, verdicts, fooled = np.random.default_rng(1), 40, 12, 0
    need = sure_gain(n, verdicts, 0.1)
    for _ in range(300):
        signs = rng.choice([-1.0, 1.0], size=(verdicts, n)) / 2  # d of range 1 and mean 0: no gain is real
        direction = np.zeros(n)
        for each in signs:
            better = (each + direction).clip(-0.5, 0.5).mean() > direction.clip(-0.5, 0.5).mean()
            direction = direction + (each if better else -each)  # climbs on what the split answers
            shown = direction.clip(-0.5, 0.5).mean()
            fooled += shown >= need
    assert fooled / 300 < 0.1


@pytest.mark.parametrize("wrong", [(0, 1, 0.1), (1, 0, 0.1), (1, 1, 0.0), (1, 1, 1.0)])
def test_what_is_no_level_or_no_number_is_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        sure_gain(*wrong)
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        worst_harm(1.0)
