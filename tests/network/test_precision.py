"""bfloat16 products and recomputed layers: what they change, and what they must not."""

import pytest
import torch

from fedtap.network.network import Network
from fedtap.training.loop import batch_loss
from tiny import CONCEPTS, DIGITS, LAW, MOOD, REDRAW_DIGITS, build_network, jittered, loss_sum, mixed_batch

PAIRS = (DIGITS, MOOD, LAW, REDRAW_DIGITS, CONCEPTS)


def networks(**settings: object) -> tuple[Network, Network]:
    """Return two networks that differ in precision alone, with the same model in both."""
    whole = build_network(PAIRS, **settings)
    half = Network(whole.architecture, whole.architecture.plan(PAIRS), seed=0, words=whole.words, precision="bf16")
    state = jittered(whole.initial_state(), scale=0.05)
    for network in (whole, half):
        network.load(state)
    return whole, half


@pytest.mark.parametrize("settings", [{}, {"adaptation": "lora"}, {"adaptation": "colora"}, {"name": "plain"}])
def test_products_are_bfloat16_and_all_that_comes_out_is_float32(settings: dict[str, object]) -> None:
    whole, half = networks(**settings)
    batch = mixed_batch(PAIRS)
    for exact, rounded in zip(whole(batch), half(batch), strict=True):
        assert rounded.output.dtype == rounded.fused.tokens.dtype == torch.float32
        assert not torch.equal(exact.output, rounded.output)
        # bfloat16 has 8 bits of mantissa, and a dozen layers lie behind an output
        torch.testing.assert_close(
            rounded.output, exact.output, rtol=0.05, atol=0.05 * float(exact.output.detach().abs().max())
        )
        assert all(stream.tokens.dtype == torch.float32 for stream in rounded.streams)


def test_gradients_and_parameters_stay_float32_and_point_the_same_way() -> None:
    whole, half = networks()
    batch = mixed_batch(PAIRS)
    flat = []
    for network in (whole, half):
        torch.autograd.backward(loss_sum(network, network(batch), batch))
        assert {p.dtype for p in network.trainable()} == {
            p.grad.dtype for p in network.trainable() if p.grad is not None
        }
        flat.append(torch.cat([p.grad.flatten() for p in network.trainable() if p.grad is not None]))
    assert flat[0].dtype == flat[1].dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(*flat, dim=0)) > 0.99


def test_a_teacher_multiplies_as_the_student_does() -> None:
    _, half = networks()
    batch = mixed_batch(PAIRS)
    half.eval()
    with torch.no_grad():
        own = half(batch)
    for mine, taught in zip(own, half.run_as(half.state(), batch), strict=True):
        assert torch.equal(mine.output, taught.output)


def test_losses_of_a_batch_are_near_those_of_full_precision() -> None:
    whole, half = networks()
    batch = mixed_batch(PAIRS)
    with torch.no_grad():
        assert float(batch_loss(half, batch)) == pytest.approx(float(batch_loss(whole, batch)), rel=0.02)
