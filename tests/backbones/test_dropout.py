"""Dropout on the CPU: how much is dropped, that the rest keeps the mean, and where its draws come from."""

import pytest
import torch

from fedtap.backbones.dropout import Dropout, dropout
from fedtap.randomness import drawing


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_a_share_is_dropped_and_the_rest_keeps_the_mean(p: float) -> None:
    torch.manual_seed(1)
    out = dropout(torch.ones(1000, 1001), p)
    share = float((out == 0).double().mean())
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / out.numel()) ** 0.5 + 1 / 65536)
    (kept,) = out[out != 0].unique()
    assert float(kept) == pytest.approx(1 / (1 - p), rel=1e-4)
    assert float(out.double().mean()) == pytest.approx(1, abs=4 * (p / (1 - p) / out.numel()) ** 0.5)


def test_places_are_dropped_independently() -> None:
    torch.manual_seed(2)
    rows = (dropout(torch.ones(200_000, 4), 0.3) == 0).double()
    covariance = torch.cov(rows.T)  # the four places of one draw, among which a fault would show
    torch.testing.assert_close(covariance, 0.21 * torch.eye(4, dtype=torch.float64), rtol=0, atol=3e-3)
    following = (rows.flatten()[1:] * rows.flatten()[:-1]).mean()
    assert float(following) == pytest.approx(0.09, abs=3e-3)


def test_the_gradient_passes_where_the_value_did() -> None:
    torch.manual_seed(3)
    x = torch.randn(7, 5, requires_grad=True)
    out = dropout(x, 0.4)
    out.sum().backward()
    scale = torch.where(out != 0, out / x, 0.0)
    torch.testing.assert_close(x.grad, scale.detach())


def test_draws_are_those_of_the_purpose_and_touch_no_others() -> None:
    before = torch.random.get_rng_state()
    with drawing(0, "client", "dropout"):
        first = dropout(torch.ones(33), 0.5)
    with drawing(0, "client", "dropout"):
        again = dropout(torch.ones(33), 0.5)
    with drawing(0, "another", "dropout"):
        other = dropout(torch.ones(33), 0.5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (5, 1), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_shape_and_type_comes_out_as_it_went_in(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out = dropout(torch.ones(shape, dtype=dtype), 0.5)
    assert (out.shape, out.dtype) == (shape, dtype)


def test_outside_training_nothing_is_dropped() -> None:
    module, x = Dropout(0.5), torch.ones(64)
    assert not torch.equal(module(x), x)
    assert module.eval()(x) is x
    assert Dropout(0.0)(x) is x
