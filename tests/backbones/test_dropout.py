"""Dropout before an adapter's product: how much is dropped, that the rest keeps the mean, gradients, where draws come from."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fedtap.backbones.dropout import dropped_product
from fedtap.runtime.randomness import drawing


def dropout(x: Tensor, p: float) -> Tensor:
    """What goes into the product."""
    return dropped_product(x, torch.eye(x.shape[-1], dtype=x.dtype), p)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_a_share_is_dropped_and_the_rest_keeps_the_mean(p: float) -> None:
    torch.manual_seed(1)
    out = dropout(torch.ones(10_000, 101), p)
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


@pytest.mark.parametrize("streams", [None, 3])
@pytest.mark.parametrize("through_gelu", [False, True])
def test_gradients_are_those_of_the_product_written_out(streams: int | None, through_gelu: bool) -> None:
    """What is dropped is read off products with unit vectors under the same draws; torch differentiates the rest."""
    torch.manual_seed(3)
    lead = () if streams is None else (streams,)
    wide = torch.randn(*lead, 7, 5, requires_grad=True)
    factor = torch.randn(*lead, 5, 2, requires_grad=True)
    eye = torch.eye(5).expand(*lead, 5, 5)
    with drawing(0, "dropout"):
        dropped = dropped_product(torch.ones(*lead, 7, 5), eye, 0.4)

    def gradients(product: Tensor) -> list[Tensor]:
        return [product.detach(), *torch.autograd.grad(product.square().sum(), [wide, factor])]

    def x() -> Tensor:
        return F.gelu(wide) if through_gelu else wide

    written_out = gradients((x() * dropped) @ factor)
    with drawing(0, "dropout"):
        mine = gradients(dropped_product(x(), factor, 0.4, pre=wide if through_gelu else None))
    assert 0 < int((dropped == 0).sum()) < dropped.numel()
    torch.testing.assert_close(mine, written_out)


def test_the_backward_pass_keeps_the_input_and_a_byte_a_place() -> None:
    x, factor = torch.randn(64, 32, requires_grad=True), torch.randn(32, 2, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        dropped_product(x, factor, 0.5)
    beside = [tensor for tensor in kept if tensor.data_ptr() not in (x.data_ptr(), factor.data_ptr())]
    assert sum(tensor.nbytes for tensor in beside) == x.numel()


def test_draws_are_those_of_the_purpose_and_touch_no_others() -> None:
    before = torch.random.get_rng_state()
    with drawing(0, "client", "dropout"):
        first = dropout(torch.ones(3, 11), 0.5)
    with drawing(0, "client", "dropout"):
        again = dropout(torch.ones(3, 11), 0.5)
    with drawing(0, "another", "dropout"):
        other = dropout(torch.ones(3, 11), 0.5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 1), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_shape_and_type_comes_out_as_it_went_in(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out = dropout(torch.ones(shape, dtype=dtype), 0.5)
    assert (out.shape, out.dtype) == (shape, dtype)


def test_in_bfloat16_products_the_gradients_are_of_their_own_type() -> None:
    x, factor = torch.randn(64, 8, requires_grad=True), torch.randn(8, 2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        product = dropped_product(x, factor, 0.3)
    product.float().sum().backward()
    assert product.dtype == torch.bfloat16
    assert x.grad is not None
    assert factor.grad is not None
    assert (x.grad.dtype, factor.grad.dtype) == (torch.float32, torch.float32)


def test_without_a_share_nothing_is_dropped() -> None:
    x, factor = torch.randn(6, 4), torch.randn(4, 2)
    assert torch.equal(dropped_product(x, factor, 0.0), x @ factor)
