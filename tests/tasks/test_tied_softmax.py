"""The losses over a tied vocabulary against PyTorch's own, in float64, across the borders of chunks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fedtap.tasks.tied_softmax import CHUNK, sampled_token_losses, token_divergences, token_losses

SIZES = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3]


def drawn(tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return student and teacher ``(tokens, 5)``, embedding ``(11, 5)`` and targets, float64."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(tokens, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    embedding = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    return student, teacher, embedding, torch.randint(11, (tokens,), generator=generator)


def with_gradient(loss: Callable[[Tensor], Tensor], hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses and the gradient of their sum weighted by unequal numbers."""
    leaf = hidden.clone().requires_grad_()
    losses = loss(leaf)
    (losses * torch.linspace(-1, 2, len(hidden), dtype=losses.dtype)).sum().backward()
    assert leaf.grad is not None
    return losses.detach(), leaf.grad


@pytest.mark.parametrize("tokens", SIZES)
def test_losses_and_gradients_are_those_of_cross_entropy(tokens: int) -> None:
    hidden, _, embedding, target = drawn(tokens)
    ours = with_gradient(lambda h: token_losses(h, embedding, target), hidden)
    torchs = with_gradient(lambda h: F.cross_entropy(h @ embedding.T, target, reduction="none"), hidden)
    torch.testing.assert_close(ours, torchs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("tokens", SIZES)
@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_divergences_and_gradients_are_those_of_kl_div(tokens: int, tau: float) -> None:
    student, teacher, embedding, _ = drawn(tokens)

    def reference(h: Tensor) -> Tensor:
        q, p = (F.log_softmax(x @ embedding.T / tau, dim=-1) for x in (h, teacher))
        return tau**2 * F.kl_div(q, p, log_target=True, reduction="none").sum(dim=1)

    ours = with_gradient(lambda h: token_divergences(h, teacher, embedding, tau), student)
    torch.testing.assert_close(ours, with_gradient(reference, student), atol=1e-12, rtol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    student, teacher, embedding, target = drawn(4)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda h: token_losses(h, embedding, target), (student,))
    assert torch.autograd.gradcheck(lambda h: token_divergences(h, teacher, embedding, 2.0), (student,))


def test_a_value_by_hand() -> None:
    hidden, embedding = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0]])  # logits 0 and 1
    log_z = torch.log(1 + torch.tensor(1.0).exp())
    assert torch.allclose(token_losses(hidden, embedding, torch.tensor([0])), log_z)
    assert torch.allclose(token_losses(hidden, embedding, torch.tensor([1])), log_z - 1)
    assert float(token_divergences(hidden, hidden, embedding, 1.0)) == pytest.approx(0.0, abs=1e-7)


def test_no_gradient_reaches_embedding_or_teacher() -> None:
    student, teacher, embedding, target = (x.requires_grad_() if x.is_floating_point() else x for x in drawn(3))
    total = token_losses(student, embedding, target).sum() + token_divergences(student, teacher, embedding, 1.0).sum()
    total.backward()
    assert student.grad is not None
    assert embedding.grad is None
    assert teacher.grad is None


def test_scoring_without_gradients_and_without_tokens() -> None:
    hidden, teacher, embedding, target = drawn(3)
    with torch.no_grad():
        assert not token_losses(hidden.requires_grad_(), embedding, target).requires_grad
    assert token_losses(hidden[:0], embedding, target[:0]).shape == (0,)
    assert token_divergences(hidden[:0], teacher[:0], embedding, 1.0).shape == (0,)


def test_large_logits_overflow_nowhere() -> None:
    hidden, embedding = torch.tensor([[300.0]]), torch.tensor([[1.0], [-1.0]])
    losses, gradient = with_gradient(lambda h: token_losses(h, embedding, torch.tensor([1])), hidden)
    assert losses.tolist() == [600.0]
    assert torch.isfinite(gradient).all()


def shortlisted(hidden: Tensor, embedding: Tensor, target: Tensor, drawn_words: list[int]) -> Tensor:
    """Return the estimate by its definition, word by word, for given draws."""
    own = sorted(set(target.tolist()))
    losses = []
    for row, wanted in zip(hidden, target, strict=True):
        logits = embedding @ row
        others = sum((logits[word].exp() for word in drawn_words if word not in own), torch.zeros((), dtype=row.dtype))
        total = logits[own].exp().sum() + others * len(embedding) / len(drawn_words)
        losses.append(total.log() - logits[wanted])
    return torch.stack(losses)


@pytest.mark.parametrize("tokens", [1, 3, CHUNK + 1])
def test_over_a_shortlist_losses_and_gradients_are_those_of_its_definition(tokens: int) -> None:
    hidden, _, embedding, target = drawn(tokens)
    target = target % 3  # so that some words are nobody's
    torch.manual_seed(5)
    words = torch.randint(11, (6,)).tolist()
    assert set(words) - set(target.tolist())

    def ours(h: Tensor) -> Tensor:
        torch.manual_seed(5)
        return sampled_token_losses(h, embedding, target, 6)

    reference = with_gradient(lambda h: shortlisted(h, embedding, target, words), hidden)
    torch.testing.assert_close(with_gradient(ours, hidden), reference, atol=1e-12, rtol=1e-12)


def test_the_estimated_sum_over_the_vocabulary_is_right_on_average_and_the_loss_never_too_high_on_average() -> None:
    hidden, _, embedding, target = drawn(3)
    exact = token_losses(hidden, embedding, target)
    torch.manual_seed(0)
    losses = torch.stack([sampled_token_losses(hidden, embedding, target, 4) for _ in range(4000)])
    ratio = (losses - exact).exp()  # of the estimated sum to the whole one
    error = ratio.std(dim=0) / len(losses) ** 0.5
    assert bool(((ratio.mean(dim=0) - 1).abs() < 4 * error).all())
    assert bool((error < 0.03).all())
    assert bool((losses.mean(dim=0) < exact + 4 * losses.std(dim=0) / len(losses) ** 0.5).all())


def test_a_shortlist_of_the_whole_vocabulary_is_no_estimate() -> None:
    hidden, _, embedding, target = drawn(7)
    before = torch.get_rng_state()
    assert torch.equal(sampled_token_losses(hidden, embedding, target, 11), token_losses(hidden, embedding, target))
    assert torch.equal(torch.get_rng_state(), before)
    nothing = sampled_token_losses(hidden[:0], embedding, target[:0], 4)
    assert nothing.shape == (0,)
