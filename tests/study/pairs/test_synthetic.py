"""The synthetic problem: its gradient, its means, and what a trunk of one's own is."""

from dataclasses import replace

import numpy as np
import pytest

from fedtap.study.pairs import synthetic
from fedtap.study.pairs.design import QUICK, Arm, coverage
from fedtap.study.pairs.synthetic import Models, Split, federate, gradient, losses, make_data, mean_by, measure

SIZE = replace(QUICK, synthetic_rounds=12)


def test_the_gradient_is_that_of_half_the_squared_error() -> None:
    rng = np.random.default_rng(0)
    models = Models(rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5)))
    x, y = rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 7))
    found = gradient(models, x, y)
    for name, at in (("trunk", (1, 2, 0)), ("trunk", (0, 4, 2)), ("head", (1, 3))):
        ends = []
        for step in (1e-6, -1e-6):
            moved = models.at(np.arange(2))
            getattr(moved, name)[at] += step
            ends.append(losses(moved, x, y)[at[0]] / 2)
        assert getattr(found, name)[at] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_means_are_over_those_that_came_to_a_place() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    before = np.array([[0.0, 0.0], [7.0, 7.0], [0.0, 0.0]])
    assert mean_by(values, np.array([0, 0, 2]), before).tolist() == [[2.0, 3.0], [7.0, 7.0], [10.0, 20.0]]


def test_alike_teachers_have_one_feature_map_and_the_first_are_the_same_however_many() -> None:
    few, many = make_data("unlike", 2, 0), make_data("unlike", 4, 0)
    assert np.array_equal(few.train.x, many.train.x[:2])
    assert np.array_equal(few.test.y, many.test.y[:2])
    for kind, alike in (("alike", True), ("unlike", False)):
        data = make_data(kind, 2, 0)
        # With one map, some mixture of tanh(U x) fits both pairs' answers without noise; the maps are made again here.
        rng = [synthetic.numpy_generator(0, "study of pairs", kind, pair) for pair in range(2)]
        own = [each.normal(size=(synthetic.FEATURES, synthetic.INPUTS)) for each in rng]
        common = synthetic.numpy_generator(0, "study of pairs", kind, "feature map").normal(size=own[0].shape)
        for pair in range(2):
            features = (common if alike else own[pair]) * synthetic.SPREAD / np.sqrt(synthetic.INPUTS)
            design = np.tanh(data.test.x[pair, 0] @ features.T)
            rest = np.linalg.lstsq(design, data.test.y[pair, 0], rcond=None)[1]
            assert float(rest[0]) < 1e-20


def without(split: Split, pair: int) -> Split:
    y = split.y.copy()
    y[pair] = 0.0
    return Split(split.x, y)


@pytest.mark.parametrize(("trunk", "same"), [("private", True), ("shared", False)])
def test_another_pair_s_data_matter_where_the_trunk_is_shared(trunk: str, same: bool) -> None:
    data = make_data("unlike", 4, 0)
    arm = Arm("unlike", 4, trunk, "T1")
    served, _ = federate(data, arm, SIZE, 0)
    other, _ = federate(replace(data, train=without(data.train, 3)), arm, SIZE, 0)
    assert np.array_equal(served.trunk[0], other.trunk[0]) is same
    assert not np.array_equal(served.head[3], other.head[3])
    assert (len(np.unique(served.trunk[:, 0, 0])) == 1) is not same


def test_pairs_are_trained_as_often_as_the_theory_says() -> None:
    size = replace(SIZE, synthetic_rounds=600, synthetic_steps=0)
    for pairs in (2, 4):
        _, trained = federate(make_data("alike", 4, 0), Arm("alike", pairs, "private", "T1"), size, 0)
        assert trained.mean() / 600 == pytest.approx(coverage(pairs), abs=0.03)
        _, matched = federate(make_data("alike", 4, 0), Arm("alike", pairs, "private", "T1/pi"), size, 0)
        assert matched.mean() == pytest.approx(600, abs=30)


def test_records_are_finite_and_training_helps() -> None:
    data = make_data("alike", 4, 1)
    short, long = (
        {
            (record["pair"], record["outcome"]): record["value"]
            for record in measure(data, Arm("alike", 4, "shared", "T1"), size, 1)
        }
        for size in (replace(SIZE, synthetic_rounds=1), replace(SIZE, synthetic_rounds=150))
    )
    assert len(long) == 4 * 3 + 2
    assert all(np.isfinite(value) for value in long.values())
    assert all(long[f"teacher{pair:02d}", "training"] < short[f"teacher{pair:02d}", "training"] for pair in range(4))
    assert measure(data, Arm("alike", 2, "shared", "T1"), SIZE, 1) == measure(
        data, Arm("alike", 2, "shared", "T1"), SIZE, 1
    )
