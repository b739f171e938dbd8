"""The conflict-averse mean against closed forms and against all points of the ball."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtap.aggregation.conflict_averse import conflict_averse_weights


def combined(updates: np.ndarray, c: float) -> np.ndarray:
    return conflict_averse_weights(updates @ updates.T, c) @ updates


@pytest.mark.parametrize("c", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("shorter", [0.1, 0.5, 0.99])
def test_of_two_opposite_updates_the_longer_gives_way_by_c(shorter: float, c: float) -> None:
    direction = np.array([0.6, 0.8, 0.0])
    updates = np.stack([direction, -shorter * direction])
    mean = (1 - shorter) / 2 * direction
    # all weight is on the shorter, whose direction is minus the mean's: U = mean - c |mean| direction
    np.testing.assert_allclose(combined(updates, c), (1 - c) * mean, atol=1e-8)


def test_of_two_equal_lengths_at_any_angle_the_mean_is_stretched() -> None:
    for angle in (0.3, 1.5, 2.8):
        updates = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
        # by symmetry the best mixture is the mean itself, and U = (1 + c) mean
        np.testing.assert_allclose(combined(updates, 0.4), 1.4 * updates.mean(axis=0), atol=1e-6)


def test_c_of_zero_is_the_mean_and_one_update_is_stretched() -> None:
    updates = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_allclose(combined(updates, 0.0), updates.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(combined(updates[:1], 0.4), 1.4 * updates[0], atol=1e-12)


def test_where_nothing_moved_or_all_cancels_the_mean_stays() -> None:
    assert conflict_averse_weights(np.zeros((3, 3)), 0.4).tolist() == [1 / 3] * 3
    one = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(combined(np.concatenate([one, -one]), 0.4), [0.0, 0.0], atol=1e-8)


@pytest.mark.parametrize("seed", range(8))
def test_of_all_points_of_the_ball_it_serves_the_worst_off_best(seed: int) -> None:
    draw = np.random.default_rng(seed)
    updates = draw.normal(size=(3, 2)) * draw.uniform(0.3, 3, size=(3, 1))
    mean = updates.mean(axis=0)
    radii, angles = np.meshgrid(np.linspace(0, 0.4, 41), np.linspace(0, 2 * np.pi, 3601))
    ball = mean + np.linalg.norm(mean) * (radii * np.stack([np.cos(angles), np.sin(angles)])).reshape(2, -1).T
    served = (ball @ updates.T).min(axis=1)
    ours = combined(updates, 0.4)
    assert (updates @ ours).min() == pytest.approx(served.max(), abs=2e-3)
    np.testing.assert_allclose(ours, ball[served.argmax()], atol=2e-2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 8), st.floats(0.0, 0.95), st.floats(1e-6, 1e4))
def test_no_client_is_served_worse_than_the_dual_allows_at_any_scale(seed: int, n: int, c: float, scale: float) -> None:
    updates = np.random.default_rng(seed).normal(size=(n, 5)) * scale
    mean, ours = updates.mean(axis=0), combined(updates, c)
    radius = c * np.linalg.norm(mean)
    assert np.linalg.norm(ours - mean) <= radius * (1 + 1e-9) + 1e-12 * scale
    assert (updates @ ours).min() >= (updates @ mean).min() - 1e-6 * scale**2
    # weak duality holds for any mixture; ours is where it is tight
    draws = np.random.default_rng(seed + 1).dirichlet(np.ones(n), size=200) @ updates
    bounds = draws @ mean + radius * np.linalg.norm(draws, axis=1)
    assert (updates @ ours).min() <= bounds.min() + 1e-6 * scale**2


def test_the_order_of_the_updates_does_not_matter() -> None:
    updates = np.random.default_rng(3).normal(size=(4, 5))
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(combined(updates, 0.4), combined(updates[order], 0.4), atol=1e-5)
