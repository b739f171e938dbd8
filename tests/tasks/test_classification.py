"""Classification: where its head starts, its losses and its distillation by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from fedtap.network.initialisation import initialise
from fedtap.tasks.base import Fused, HeadSizes, Losses
from fedtap.tasks.classification import Classification
from tiny import CLASSES, generator, head_sizes

KIND = Classification()


HEADS = {
    "pooled, of text": head_sizes("text"),
    "pooled, of images": head_sizes("image", classification={"head": "pooled"}),
    "grid": head_sizes("image"),
}


def head(sizes: HeadSizes = HEADS["pooled, of text"]) -> torch.nn.Module:
    built = KIND.build_head(sizes)
    initialise(built, generator("head"))
    return built


def fused() -> Fused:
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    return Fused(torch.randn(2, 4, 16, generator=generator("fused")), mask)


@pytest.mark.parametrize("sizes", HEADS.values(), ids=HEADS)
def test_a_head_starts_at_zero_logits_and_leaves_no_part_of_itself_behind(sizes: HeadSizes) -> None:
    built = head(sizes)
    logits = KIND.run(built, fused(), torch.zeros(2), None)
    assert torch.equal(logits, torch.zeros(2, CLASSES))
    for _ in range(2):  # what lies behind a matrix of zeros gets its first gradient after one step
        loss = KIND.losses(KIND.run(built, fused(), torch.zeros(2), None), torch.tensor([0, 2]), None).mean()
        built.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.sub_(parameter.grad)
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in built.parameters())


def trained(sizes: HeadSizes) -> torch.nn.Module:
    built = head(sizes)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator("trained", parameter.shape)))
    return built


@torch.no_grad()
def test_the_grid_head_tells_places_apart_and_the_pooled_one_does_not() -> None:
    given = Fused(fused().tokens, torch.ones(2, 4, dtype=torch.bool))
    moved = Fused(given.tokens.flip(1), given.mask)
    for name, tells in (("grid", True), ("pooled, of images", False), ("pooled, of text", False)):
        built = trained(HEADS[name])
        assert torch.allclose(built(given), built(moved), atol=1e-4) != tells


@torch.no_grad()
def test_the_grid_head_averages_a_large_grid_down_to_three_by_three() -> None:
    built = trained(head_sizes("image", vision_tokens=36))
    tokens = torch.randn(1, 6, 6, 16, generator=generator("large"))
    mask = torch.ones(1, 36, dtype=torch.bool)
    logits = built(Fused(tokens.flatten(1, 2), mask))
    places = [tokens[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(dim=(0, 1)) for i in range(3) for j in range(3)]
    normed = torch.cat([built.place_norm(place) for place in places]) / 3
    pooled = built.norm(tokens.mean(dim=(1, 2)))
    expected = built.linear(pooled) + built.out(F.gelu(built.hidden(pooled))) + normed @ built.places.weight.T
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_tokens_that_make_no_grid_are_pooled() -> None:
    pooled = trained(head_sizes("image", vision_tokens=5))
    tokens = torch.randn(1, 5, 16, generator=generator("five"))
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert torch.allclose(pooled(Fused(tokens, mask)), pooled(Fused(tokens.flip(1), mask)), atol=1e-4)


def test_the_pooled_mean_ignores_padding() -> None:
    given = fused()
    assert torch.allclose(given.pooled()[0], given.tokens[0, :2].mean(dim=0))
    assert torch.allclose(given.pooled()[1], given.tokens[1].mean(dim=0), atol=1e-6)
    noise = Fused(given.tokens.masked_fill(~given.mask[..., None], 1e3), given.mask)
    assert torch.allclose(noise.pooled(), given.pooled())


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]])
    losses = KIND.losses(logits, torch.tensor([1, 0]), None)
    assert losses.per_example().tolist() == pytest.approx([math.log(3), math.log(2)])
    assert float(losses.mean()) == pytest.approx((math.log(3) + math.log(2)) / 2)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_the_distance_is_tau_squared_times_the_divergence_of_softened_classes(tau: float) -> None:
    student, teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    p = 1 / (1 + math.exp(-2 / tau))
    by_hand = tau**2 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)) / 2  # the second example agrees
    distance = KIND.distance(student, teacher, torch.zeros(2), None, tau)
    assert float(distance) == pytest.approx(by_hand, rel=1e-5)


def test_the_distance_pulls_the_student_towards_the_teacher() -> None:
    student = torch.zeros(1, 2, requires_grad=True)
    KIND.distance(student, torch.tensor([[2.0, 0.0]]), torch.zeros(1), None, 1.0).backward()
    assert student.grad is not None
    assert student.grad[0, 0] < 0 < student.grad[0, 1]


def test_answers_are_probabilities() -> None:
    built, given = head(), fused()
    logits = torch.tensor([[0.0, 0.0, math.log(2)]])
    assert KIND.answers(built, given, logits, None)[0].tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert torch.allclose(KIND.answers(built, given, None, None), torch.full((2, CLASSES), 1 / CLASSES))


def test_losses_without_units_do_not_divide_by_zero() -> None:
    empty = Losses(torch.tensor([0.0, 6.0]), torch.tensor([0.0, 3.0]))
    assert empty.per_example().tolist() == [0.0, 2.0]
    assert float(empty.mean()) == 2.0
