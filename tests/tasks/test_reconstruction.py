"""Reconstruction: which place looks where, which pixels it paints, losses by hand."""

import pytest
import torch
from torch import nn

from fedtap.network.start import start_module
from fedtap.tasks.base import Fused
from fedtap.tasks.reconstruction import CANVAS, GRID, PATCH, GridHead, Reconstruction
from tiny import generator, head_sizes

KIND = Reconstruction()


def grid_head(tokens: int = 9) -> GridHead:
    head = KIND.build_head(head_sizes("image", vision_tokens=tokens))
    assert isinstance(head, GridHead)
    start_module(head, generator("head"))
    return head


def painting_head() -> GridHead:
    """Return a head that paints, whatever its painter starts at."""
    head = grid_head()
    with torch.no_grad():
        head.paint.weight.normal_(generator=generator("paint"))
    return head


def fused(tokens: int = 9, n: int = 2) -> Fused:
    drawn = torch.randn(n, tokens, 16, generator=generator("fused", tokens))
    return Fused(drawn, torch.ones(n, tokens, dtype=torch.bool))


def test_places_start_near_the_tokens_of_their_own_corner() -> None:
    nearness = grid_head(9).nearness.detach()  # tokens 0 1 2 / 3 4 5 / 6 7 8, places 0..7 / 8..15 / ...
    assert nearness.shape == (2, 64, 9)
    assert torch.equal(nearness[0], nearness[1])
    near = nearness[0]
    corners = {0: 0, 7: 2, 56: 6, 63: 8}
    for place, token in corners.items():
        assert int(near[place].argmax()) == token
        assert int(near[place].argmin()) == 8 - token
    assert {int(near[place].argmax()) for place in (27, 28, 35, 36)} == {4}
    # place 0 has its centre at 1/16 of the side, token 0 at 1/6: apart by 5/48 of the side, 5/16 of a token's width, both ways
    assert float(near[0, 0]) == pytest.approx(-2 * 2 * (5 / 16) ** 2)
    assert float(near[0, 1]) == pytest.approx(-2 * ((5 / 16) ** 2 + (1 + 5 / 16) ** 2))
    assert float(near[1, 0]) == pytest.approx(-2 * ((1 / 16) ** 2 + (5 / 16) ** 2))  # to the right, not below


def test_tokens_that_make_no_grid_are_equally_near() -> None:
    assert torch.equal(grid_head(10).nearness, torch.zeros(2, 64, 10))


@torch.no_grad()
def test_a_place_paints_its_own_patch() -> None:
    head = grid_head()
    head.paint.weight.zero_()
    head.paint.bias.zero_()
    plain = head(fused())
    assert torch.equal(plain, torch.zeros(2, 3, 64, 64))
    rows = torch.zeros(3, PATCH, PATCH)
    rows[1, 2, 5] = 1.0  # channel 1, third row, sixth column of the patch

    class OnePlace(nn.Module):
        """Speaks at place (0, 1) only."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            patches = torch.zeros(len(x), GRID * GRID, rows.numel())
            patches[:, 1] = rows.flatten()
            return patches

    head.paint = OnePlace()
    painted = head(fused())
    assert painted.nonzero().tolist() == [[i, 1, 2, 8 + 5] for i in range(2)]


@torch.no_grad()
def test_a_token_bears_most_on_the_patches_beside_it() -> None:
    head, given = painting_head(), fused(n=1)
    before = head(given)
    changed = given.tokens.clone()
    changed[0, 2] = -changed[0, 2]  # upper right
    moved = (head(Fused(changed, given.mask)) - before).abs().sum(dim=1)[0]
    corners = {(0, 0): moved[:8, :8], (0, 1): moved[:8, -8:], (1, 0): moved[-8:, :8], (1, 1): moved[-8:, -8:]}
    amount = {corner: float(part.mean()) for corner, part in corners.items()}
    assert max(amount, key=amount.__getitem__) == (0, 1)
    assert amount[0, 1] > 3 * max(amount[0, 0], amount[1, 1])


@torch.no_grad()
def test_the_canvas_is_added_to_every_picture() -> None:
    head, given = grid_head(), fused()
    assert not head.canvas.any()
    before = head(given)
    head.canvas[0, 3, 60] = 0.5
    added = head(given) - before
    assert added.nonzero().tolist() == [[0, 0, 3, 60], [1, 0, 3, 60]]
    assert added[0, 0, 3, 60].item() == pytest.approx(CANVAS * 0.5, rel=1e-5)


@torch.no_grad()
def test_hidden_tokens_are_not_looked_at() -> None:
    head, given = painting_head(), fused()
    mask = given.mask.clone()
    mask[0, 4:] = False
    hidden = head(Fused(given.tokens, mask))
    noise = head(Fused(given.tokens.masked_fill(~mask[..., None], 99.0), mask))
    assert torch.allclose(hidden, noise, atol=1e-5)
    assert not torch.allclose(hidden[0], head(given)[0], atol=1e-3)
    assert torch.allclose(hidden[1], head(given)[1], atol=1e-5)


def test_the_papers_head_is_at_hand() -> None:
    head = KIND.build_head(head_sizes("image", reconstruction={"head": "pooled"}))
    start_module(head, generator("head"))
    given = fused()
    pictures = KIND.run(head, given, torch.zeros(0), None)
    assert pictures.shape == (2, 3, 64, 64)
    shuffled = Fused(given.tokens.flip(1), given.mask)  # one vector: where things are is lost
    assert torch.allclose(head(shuffled), pictures, atol=1e-5)
    assert not torch.allclose(painting_head()(shuffled), painting_head()(given), atol=1e-2)


def test_losses_by_hand() -> None:
    target = torch.zeros(2, 3, 64, 64)
    output = target.clone()
    output[0, 1, 5, 5] = 2.0
    output[1] = -0.5
    losses = KIND.losses(output, target, None)
    assert losses.per_example().tolist() == pytest.approx([4 / (3 * 64 * 64), 0.25])
    assert losses.units.tolist() == [1.0, 1.0]


def test_the_distance_is_the_squared_error_to_the_teachers_picture() -> None:
    student, teacher, target = torch.zeros(2, 3, 64, 64), torch.ones(2, 3, 64, 64), torch.full((2, 3, 64, 64), 9.0)
    teacher[1] = 3.0
    for temperature in (1.0, 4.0):
        assert float(KIND.distance(student, teacher, target, None, temperature)) == 5.0
    # a softmax over pixels would not see a picture that is brighter all over
    assert float(KIND.distance(teacher[:1], teacher[:1] + 1, target[:1], None, 1.0)) == 1.0


def test_answers_stay_in_the_image_space() -> None:
    head = grid_head()
    assert KIND.answers(head, fused(), torch.tensor([-3.0, 0.25, 7.0]), None).tolist() == [-1.0, 0.25, 1.0]
    assert KIND.answers(head, fused(), None, None).shape == (2, 3, 64, 64)
