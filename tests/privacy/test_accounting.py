"""The accountant against an implementation of its own: Rényi divergences of the Gaussian, with and without sampling."""

import math

import pytest

from fedtap.privacy.accounting import epsilon


def by_hand(noise: float, rate: float, steps: int, delta: float, orders: list[int]) -> float:
    """Return epsilon from integer orders; Mironov, Talwar, Zhang 2019, section 3.3, and Balle et al. 2020, theorem 21."""
    found = []
    for a in orders:
        if rate == 1:
            rdp = a / (2 * noise**2)
        else:
            terms = (
                math.comb(a, k) * (1 - rate) ** (a - k) * rate**k * math.exp((k * k - k) / (2 * noise**2))
                for k in range(a + 1)
            )
            rdp = math.log(math.fsum(terms)) / (a - 1)
        found.append(steps * rdp + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1))
    return min(found)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(4.0, 1.0, 5), (2.0, 0.05, 300), (6.0, 1.0, 1), (3.0, 0.25, 40)])
def test_it_agrees_with_the_formulas(noise: float, rate: float, steps: int) -> None:
    theirs = epsilon([(noise, rate, steps)], 1e-5)
    mine = by_hand(noise, rate, steps, 1e-5, list(range(2, 64)))
    assert theirs == pytest.approx(mine, rel=0.02)  # it tries orders between the whole ones too
    assert theirs <= mine * (1 + 1e-9)


def test_groups_of_steps_add_up_and_sampling_makes_a_step_cheaper() -> None:
    assert epsilon([(2.0, 0.1, 7), (2.0, 0.1, 3)], 1e-6) == pytest.approx(epsilon([(2.0, 0.1, 10)], 1e-6))
    assert epsilon([(2.0, 0.1, 10)], 1e-6) < epsilon([(2.0, 0.5, 10)], 1e-6) < epsilon([(2.0, 1.0, 10)], 1e-6)
    assert epsilon([], 1e-6) == epsilon([(2.0, 0.1, 0)], 1e-6) == 0


def test_much_and_little_noise_raise_no_warning() -> None:
    assert epsilon([(1000.0, 1.0, 1)], 1e-5) < 0.02
    assert epsilon([(0.05, 1.0, 10)], 1e-5) > 1000
