"""The bound's terms by hand, the ties of components, when it holds, and that each term is needed."""

from math import exp

import numpy as np
import pytest

from fedtap.theory.bound import ComponentTerms, bound, largest_step, one_step_bound, ties, weighted_bound
from fedtap.theory.sampling import sampling

ONE = ComponentTerms(share=0.5, pi=0.8, rho=0.6, phi=0.4, most=1.0, dissimilarity=3.0, noise=2.0, mismatch=0.7)
TIGHT = {"gap": 5.0, "smoothness": 2.0, "rounds": 10}


def test_terms_by_hand() -> None:
    found = bound([ONE], rate=0.01, steps=4, **TIGHT)  # gamma = 0.04
    assert found.optimisation == pytest.approx(7 / 3 * 5 / (0.04 * 10))
    assert found.sampling == pytest.approx(7 / 3 * 2 * 0.04 * 0.4 * (0.4 * 3 + 0.6 * 2 / 4))
    assert found.drift == pytest.approx(0.75 * 4 * 0.04**2 * 0.5 * (2 * 2 / 4 + 8 / 3 * 3))
    assert found.weights == 0
    assert found.total == pytest.approx(found.optimisation + found.sampling + found.drift)
    one = one_step_bound([ONE], rate=0.5, **TIGHT)
    assert one.optimisation == pytest.approx(2 * 5 / (0.5 * 10))
    assert one.sampling == pytest.approx(2 * 0.5 * 0.4 * (0.4 * 3 + 0.6 * 2))
    assert one.drift == 0
    two = weighted_bound([ONE], rate=0.01, steps=4, tie=3.0, **TIGHT)
    assert two.optimisation == pytest.approx(4 * 5 / (0.04 * 10))
    assert two.sampling == pytest.approx(4 * 2 * 0.04 * 0.4 * (0.4 * 3 + 0.6 * 2 / 4))
    assert two.weights == pytest.approx(5 * 0.4 * 0.7)
    assert two.drift == pytest.approx(0.75 * 3 * 4 * 0.04**2 * 0.4 * (6 * 2 / 4 + 8 * 3))


def test_a_step_that_is_too_long_has_no_bound() -> None:
    longest = largest_step(2.0, steps=4, tie=1.0 / 0.8)
    assert longest == pytest.approx(1 / 8)  # the tie is too weak to matter here
    bound([ONE], rate=longest / 4, steps=4, **TIGHT)
    with pytest.raises(ValueError, match=r"longer than 0\.125"):
        bound([ONE], rate=1.01 * longest / 4, steps=4, **TIGHT)
    with pytest.raises(ValueError, match=r"longer than 0\.5"):
        one_step_bound([ONE], rate=0.51, **TIGHT)
    with pytest.raises(ValueError, match="longer"):
        weighted_bound([ONE], rate=0.03, steps=4, tie=100.0, **TIGHT)
    assert largest_step(2.0, steps=4, tie=12.0) == pytest.approx(1 / (8 * 3))


def test_only_components_of_one_client_are_compared() -> None:
    pi = {"trunk": 1.0, "a": 0.5, "b": 0.25, "alone": 0.1}
    most, tie = ties(pi, {1: ["trunk", "a"], 2: ["a", "b"], 3: ["alone"]})
    assert most == {"trunk": 1.0, "a": 1.0, "b": 0.5, "alone": 0.1}
    assert tie == 2.0
    assert ties({"a": 0.5, "b": 0.2}, {1: ["a"], 2: ["b"]})[1] == 1.0


@pytest.mark.parametrize("rounds", [1, 10, 1_000, 100_000])
@pytest.mark.parametrize(("K", "n", "m"), [(1, 3, 2), (4, 3, 2), (16, 8, 8), (5, 1, 3)])
@pytest.mark.parametrize(("zeta2", "sigma2"), [(0.0, 3.0), (2.0, 0.0), (2.0, 3.0)])
def test_corollary_1b(rounds: int, K: int, n: int, m: int, zeta2: float, sigma2: float) -> None:
    """With the step that weighs its terms, Theorem 1 over pi is at most what Corollary 1b says, term by term and in all."""
    gap, smoothness, steps = 4.0, 2.0, 5
    mine = sampling(n * K, n, m)
    part = ComponentTerms(mine.share, mine.pi, mine.rho, mine.phi, mine.pi, zeta2, sigma2)
    V = max(mine.phi * zeta2 + mine.rho * sigma2 / steps, 1e-3)
    rate = min(1 / (4 * smoothness), (gap / (mine.pi * rounds * smoothness * V)) ** 0.5) / steps
    found = bound([part] * K, gap=gap, smoothness=smoothness, rate=rate, steps=steps, rounds=rounds)
    updates = mine.pi * rounds
    slow, fast = (smoothness * gap * V / updates) ** 0.5, smoothness * gap / updates
    most = 28 / 3 * fast + 14 / 3 * slow
    assert (found.optimisation + found.sampling) / mine.pi <= most * (1 + 1e-12)
    drift = (1 - 1 / steps) * fast * (2 * sigma2 / steps + 8 / 3 * zeta2) / V
    assert found.drift / mine.pi <= drift * (1 + 1e-12)
    if rounds == 100_000 and zeta2 == 0 and sigma2:
        assert found.total / mine.pi == pytest.approx(14 / 3 * slow, rel=0.2)  # where noise rules: rho / (pi T)


# --- every term is needed: in each example all others are nothing ---------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_first_term_is_attained_up_to_2_7(seed: int) -> None:
    """K private components with one slow curvature: coverage is paid as 1 / pi, and cannot be had for less."""
    rng = np.random.default_rng(seed)
    K, n = int(rng.integers(1, 33)), int(rng.integers(1, 6))
    of = sampling(n * K, n, int(rng.integers(1, min(n * K, 12) + 1)))
    smooth = 10 ** rng.uniform(-1, 1)
    gamma = 10 ** rng.uniform(-2, 0) / (4 * smooth)
    rounds = int(max(2, np.ceil(1 / (gamma * smooth * of.pi)))) * int(rng.integers(1, 20))
    slow = 1 / (gamma * of.pi * rounds)
    shrink = 1 - of.pi + of.pi * (1 - gamma * slow) ** 2
    left = of.pi * slow**2 * (1 - shrink**rounds) / (1 - shrink) / rounds
    part = ComponentTerms(of.share, of.pi, of.rho, of.phi, of.pi, 0.0, 0.0)
    right = bound([part] * K, gap=slow / 2, smoothness=smooth, rate=gamma, steps=1, rounds=rounds).total
    assert 1 <= right / left <= 7 / 3 / (1 - exp(-2)) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_the_sampling_variance_is_attained_up_to_2(seed: int) -> None:
    """Equal curvature, other optima, one local step: where it comes to rest, phi zeta^2 + rho sigma^2 is exact."""
    rng = np.random.default_rng(seed)
    N = int(rng.integers(2, 40))
    of = sampling(N, int(rng.integers(2, N + 1)), int(rng.integers(1, N + 1)))
    smooth = 10 ** rng.uniform(-1, 1)
    gamma = 10 ** rng.uniform(-2, 0) / smooth
    zeta2, sigma2 = 10 ** rng.uniform(-2, 2, 2)
    rest = smooth**2 * gamma**2 * (of.phi * zeta2 + of.rho * sigma2) / (1 - (1 - gamma * smooth) ** 2)
    part = ComponentTerms(of.share, of.pi, of.rho, of.phi, of.pi, zeta2, sigma2)
    right = one_step_bound([part], gap=0.0, smoothness=smooth, rate=gamma, rounds=1).total / (of.pi * of.share)
    assert right / rest * (1 + 1e-9) >= 1
    assert right / rest <= 2 * (1 + 1e-9)


def test_the_drift_is_attained_up_to_a_constant() -> None:
    """Two clients of unlike curvature, always there, without noise: at rest the gradient is of order gamma L zeta."""
    smooth, slow, steps = 1.0, 1e-4, 8
    gamma = 1 / (4 * smooth)
    steep, flat = (-np.expm1(steps * np.log1p(-gamma / steps * h)) / gamma for h in (smooth, slow))
    w = flat / (steep + flat)
    gradients = np.array([smooth * w, slow * (w - 1)])
    part = ComponentTerms(1.0, 1.0, 0.5, 0.0, 1.0, float(gradients.var()), 0.0)
    found = bound([part], gap=0.0, smoothness=smooth, rate=gamma / steps, steps=steps, rounds=1)
    assert found.total == found.drift
    assert 1 <= found.total / gradients.mean() ** 2 <= 8 / 3 * (48 / 11) ** 2 * 1.03 / (1 - 1 / steps)


def test_the_drift_of_noise_is_attained_up_to_a_constant() -> None:
    """A kink, two local steps, noise of two values and infinitely many holders: averaging removes the noise, not the bias."""
    smooth, sigma = 1.0, 3.0
    gamma = 1 / (4 * smooth)
    rate = gamma / 2

    def slope(w: float) -> float:
        return smooth * w if w > 0 else smooth * w / 2

    def mean_step(w: float) -> float:
        return (slope(w) + (slope(w - rate * (slope(w) + sigma)) + slope(w - rate * (slope(w) - sigma))) / 2) / 2

    low, high = -rate * sigma, 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_step(middle) < 0 else (low, middle)
    part = ComponentTerms(1.0, 1.0, 0.0, 0.0, 1.0, 0.0, sigma**2)
    found = bound([part], gap=0.0, smoothness=smooth, rate=rate, steps=2, rounds=1)
    assert found.total == found.drift
    assert 1 <= found.total / slope(low) ** 2 <= 200


def test_the_floor_of_the_weights_is_attained() -> None:
    p, v, optima = np.array([0.5, 0.5]), np.array([0.2, 0.8]), np.array([0.0, 1.0])
    w = float(v @ optima)  # where weights v come to rest, curvature 1
    left = float(p @ (w - optima)) ** 2
    mismatch = float((p - v) @ (w - optima)) ** 2
    part = ComponentTerms(1.0, 1.0, 0.5, 0.0, 1.0, 0.0, 0.0, mismatch)
    found = weighted_bound([part], gap=0.0, smoothness=1.0, rate=0.1, steps=1, rounds=1, tie=1.0)
    assert found.total == pytest.approx(5 * left)
