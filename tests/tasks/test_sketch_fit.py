"""The closed form of a picture head, against the slope of the objective as torch finds it, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn import functional as F

from fedtap.tasks.sketch_fit import SIZE, SKETCH, SketchFit, enlargement
from tiny import generator

SCALE = 2.0
DIM = 5


def examples(n: int = 12) -> tuple[Tensor, Tensor]:
    """Return features that are not centred, and residuals."""
    features = torch.randn(n, DIM, generator=generator("features"), dtype=torch.float64) + 1.5
    return features, torch.randn(n, 3, SIZE, SIZE, generator=generator("residuals"), dtype=torch.float64)


def fitted(features: Tensor, residuals: Tensor, *, parts: int = 1) -> SketchFit:
    fit = SketchFit(DIM, SCALE)
    for some, theirs in zip(features.chunk(parts), residuals.chunk(parts), strict=True):
        fit.add(some, theirs)
    return fit


def drawn(features: Tensor, weight: Tensor, canvas: Tensor) -> Tensor:
    """Return pictures as the head draws them, written out anew."""
    sketch = (features @ weight.T).unflatten(1, (3, SKETCH, SKETCH))
    return F.interpolate(SCALE * sketch, size=SIZE, mode="bilinear", align_corners=False) + canvas


def mean_eigenvalue(features: Tensor) -> float:
    """Return the mean eigenvalue of the problem's curvature, from the traces of its two factors."""
    side = enlargement()
    sketch = SCALE**2 * float(torch.trace(side.T @ side)) ** 2 / SKETCH**2
    return sketch * float(torch.trace(torch.cov(features.T, correction=0))) / DIM


def test_one_side_is_enlarged_as_torch_does_it() -> None:
    line = torch.randn(1, 1, 1, SKETCH, generator=generator("line"), dtype=torch.float64)
    plane = F.interpolate(line.expand(1, 1, SKETCH, SKETCH), size=SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlargement() @ line.flatten(), plane[0, 0, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3])
def test_at_the_solution_the_objective_has_no_slope(strength: float) -> None:
    features, residuals = examples()
    weight, canvas = (tensor.requires_grad_() for tensor in fitted(features, residuals).solve(strength))
    pull = strength * mean_eigenvalue(features)
    left = (drawn(features, weight, canvas) - residuals).square().sum() / len(features)
    slopes = torch.autograd.grad(left + pull * weight.square().sum(), (weight, canvas))
    # beside the slope where it stood, which the solution has taken away
    start = torch.zeros_like(weight, requires_grad=True), torch.zeros_like(canvas, requires_grad=True)
    before = torch.autograd.grad((drawn(features, *start) - residuals).square().sum() / len(features), start)
    for slope, first in zip(slopes, before, strict=True):
        assert float(slope.abs().max()) < 1e-9 * float(first.abs().max())


def test_where_the_sketch_is_not_enlarged_it_is_ridge_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtap.tasks.sketch_fit.SIZE", SKETCH)
    features = examples()[0]
    residuals = torch.randn(len(features), 3, SKETCH, SKETCH, generator=generator("small"), dtype=torch.float64)
    weight, canvas = fitted(features, residuals).solve(0.3)
    spread = float(torch.trace(torch.cov(features.T, correction=0))) / DIM
    # with W = weight * SCALE the pull mu |D|^2 is mu / SCALE^2 |W|^2, and mu is 0.3 * SCALE^2 * spread
    ridge = Ridge(alpha=0.3 * spread * len(features)).fit(features.numpy(), residuals.flatten(1).numpy())
    np.testing.assert_allclose(SCALE * weight.numpy(), ridge.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(canvas.flatten().numpy(), ridge.intercept_, rtol=1e-8, atol=1e-10)


def test_a_strong_pull_leaves_the_sketch_and_a_weak_one_fits_better() -> None:
    features, residuals = examples()
    fit = fitted(features, residuals)

    def error(strength: float) -> float:
        return float((drawn(features, *fit.solve(strength)) - residuals).square().mean())

    assert float(fit.solve(1e9)[0].abs().max()) < 1e-6
    assert error(1e-3) < error(0.1) < error(10.0) < float(residuals.square().mean())


def test_examples_may_come_in_parts() -> None:
    features, residuals = examples()
    whole, parts = fitted(features, residuals).solve(0.3), fitted(features, residuals, parts=4).solve(0.3)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_single_example_moves_the_canvas_alone() -> None:
    features, residuals = examples(1)
    weight, canvas = fitted(features, residuals).solve(1.0)
    assert float(weight.abs().max()) < 1e-6
    torch.testing.assert_close(drawn(features, weight, canvas), residuals, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_a_pull_that_is_none_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        fitted(*examples()).solve(strength)


def test_without_examples_there_is_no_optimum() -> None:
    with pytest.raises(ValueError, match="0 examples"):
        SketchFit(DIM, SCALE).solve(1.0)
