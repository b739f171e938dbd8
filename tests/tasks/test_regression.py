"""Regression: heads, losses, scores in the user's unit, and the trivial baselines, by hand and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from fedtap.data.loader import ClientData
from fedtap.evaluation.trivial import trivial_rows
from fedtap.metrics import possible
from fedtap.metrics.regression import RegressionScores
from fedtap.network.initialisation import initialise
from fedtap.scenario.unit import scaled, unscaled
from fedtap.tasks.base import Fused
from fedtap.tasks.regression import Regression
from tiny import AGE, SCALE, client_data, generator, head_sizes

KIND = Regression()


@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_head_starts_in_the_middle_of_the_scale(modality) -> None:
    head = KIND.build_head(head_sizes(modality))
    initialise(head, generator("head"))
    fused = Fused(torch.randn(2, 4, 16, generator=generator("fused")), torch.ones(2, 4, dtype=torch.bool))
    assert torch.equal(KIND.run(head, fused, torch.zeros(2), None), torch.zeros(2))
    assert torch.equal(KIND.answers(head, fused, None, None), torch.zeros(2))


def test_losses_and_distillation_are_squared_errors() -> None:
    said, right = torch.tensor([0.5, -1.0]), torch.tensor([0.0, 1.0])
    assert KIND.losses(said, right, None).per_example().tolist() == [0.25, 4.0]
    assert float(KIND.distance(said, right, torch.zeros(2), None, 3.0)) == pytest.approx(4.25 / 2)
    assert not KIND.is_distribution


def test_a_scale_turns_its_ends_into_minus_one_and_one_and_back() -> None:
    assert [scaled(value, (20.0, 60.0)) for value in (20.0, 60.0, 40.0, 80.0)] == [-1, 1, 0, 2]
    assert unscaled(scaled(torch.tensor([3.0, 71.0]), (20.0, 60.0)), (20.0, 60.0)).tolist() == [3.0, 71.0]


def test_scores_are_in_the_users_unit() -> None:
    draw = torch.Generator().manual_seed(1)
    said, right = torch.randn(2, 30, generator=draw).double()
    scores = RegressionScores((-10.0, 30.0))
    scores.update(said[:11], right[:11])
    scores.update(said[11:], right[11:])
    a, b = (20 * x.numpy() + 10 for x in (said, right))
    expected = {
        "mae": sklearn.mean_absolute_error(b, a),
        "mse": sklearn.mean_squared_error(b, a),
        "r2": sklearn.r2_score(b, a),
    }
    assert {metric: value for metric, (value, _) in scores.value().items()} == pytest.approx(expected)
    assert scores.outcomes("mae") == pytest.approx(np.abs(a - b).tolist())
    with pytest.raises(KeyError):
        scores.outcomes("mse")


def test_r2_is_left_out_where_all_numbers_are_the_same() -> None:
    for n in (1, 3):
        scores = RegressionScores(SCALE)
        scores.update(torch.zeros(n), torch.full((n,), 0.3))
        assert set(scores.value()) == {"mae", "mse"}
    with pytest.raises(ValueError, match="no number"):
        RegressionScores(SCALE).value()
    with pytest.raises(ValueError, match="twice"):
        RegressionScores(SCALE).update(torch.zeros(2, 1), torch.zeros(2))


def test_errors_may_be_of_any_size_and_r2_far_below_nothing() -> None:
    assert possible("mse", 1e12, "regression")
    assert not possible("mse", 1e12, "reconstruction")
    assert possible("r2", -50.0, "regression")
    assert not possible("r2", 1.5, "regression")
    assert not possible("mae", -1.0, "regression")
    assert not possible("mae", 1.0, "classification")


def test_the_trivial_baselines_are_the_mean_and_the_median_of_training() -> None:
    data = client_data([AGE])
    rows = trivial_rows(client="c", pairs=[AGE], data=data, words=None, unseen=False, scales={AGE.head: SCALE})
    train, test = (unscaled(data.tasks["age"][split].labels().double(), SCALE).numpy() for split in ("train", "test"))
    found = {(row["model"], row["metric"]): row["value"] for row in rows}
    for model, value in (("mean_value", train.mean()), ("median_value", np.median(train))):
        assert found[model, "mae"] == pytest.approx(np.abs(test - value).mean())
        assert found[model, "mse"] == pytest.approx(((test - value) ** 2).mean())
        assert found[model, "r2"] == pytest.approx(sklearn.r2_score(test, np.full(len(test), value)))
    assert isinstance(data, ClientData)
    assert {row["family"] for row in rows} == {"image_regression"}
