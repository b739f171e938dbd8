"""Reconstruction: what is drawn where, losses by hand."""

import pytest
import torch

from fedtap.network.initialisation import initialise
from fedtap.tasks.base import Fused
from fedtap.tasks.reconstruction import CANVAS_SCALE, SKETCH_SCALE, GridHead, PooledHead, Reconstruction
from fedtap.tasks.token_grid import pool_grid
from tiny import generator, head_sizes

KIND = Reconstruction()


def grid_head(tokens: int = 9) -> GridHead:
    head = KIND.build_head(head_sizes("image", vision_tokens=tokens))
    assert isinstance(head, GridHead)
    initialise(head, generator("head"))
    return head


def drawing_head() -> GridHead:
    """Return a head that draws, though it starts with a grey picture."""
    head = grid_head()
    with torch.no_grad():
        head.sketch.weight.normal_(generator=generator("sketch"))
    return head


def fused(tokens: int = 9, n: int = 2) -> Fused:
    drawn = torch.randn(n, tokens, 16, generator=generator("fused", tokens))
    return Fused(drawn, torch.ones(n, tokens, dtype=torch.bool))


@torch.no_grad()
def test_the_picture_starts_grey() -> None:
    assert torch.equal(grid_head()(fused()), torch.zeros(2, 3, 64, 64))


@torch.no_grad()
def test_a_sketched_pixel_is_enlarged_in_its_place() -> None:
    head = grid_head()
    head.sketch.bias.zero_()
    head.sketch.bias[1 * 256 + 2 * 16 + 5] = 0.5  # channel 1, third row, sixth column of 16 x 16
    picture = head(fused(n=1))[0]
    assert not picture[0].any()
    assert not picture[2].any()
    # bilinear with centres at 4 i + 1.5: the four pixels around the centre of (2, 5) weigh 7/8 each way
    around = picture[1, 9:11, 21:23]
    assert around.flatten().tolist() == pytest.approx([SKETCH_SCALE * 0.5 * (7 / 8) ** 2] * 4)
    assert int(picture[1].argmax()) in {row * 64 + column for row in (9, 10) for column in (21, 22)}
    assert picture[1].nonzero().min(dim=0).values.tolist() == [6, 18]
    assert picture[1].nonzero().max(dim=0).values.tolist() == [13, 25]


@torch.no_grad()
def test_it_matters_where_a_token_lies() -> None:
    head, given = drawing_head(), fused()
    assert not torch.allclose(head(Fused(given.tokens.flip(1), given.mask)), head(given), atol=1e-2)


@torch.no_grad()
def test_a_fine_grid_is_averaged_down_in_its_places() -> None:
    coarse = torch.arange(16.0).reshape(1, 16, 1).expand(1, 16, 16)  # 4 x 4
    fine = coarse.reshape(1, 4, 4, 16).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).reshape(1, 64, 16)
    assert torch.equal(pool_grid(fine, 4), coarse)
    assert torch.equal(pool_grid(coarse, 4), coarse)


def test_tokens_that_make_no_grid_get_the_pooled_head() -> None:
    assert isinstance(KIND.build_head(head_sizes("image", vision_tokens=10)), PooledHead)


@torch.no_grad()
def test_the_canvas_is_added_to_every_picture() -> None:
    head, given = grid_head(), fused()
    assert not head.canvas.any()
    before = head(given)
    head.canvas[0, 3, 60] = 0.5
    added = head(given) - before
    assert added.nonzero().tolist() == [[0, 0, 3, 60], [1, 0, 3, 60]]
    assert added[0, 0, 3, 60].item() == pytest.approx(CANVAS_SCALE * 0.5, rel=1e-5)


def test_the_papers_head_is_at_hand() -> None:
    head = KIND.build_head(head_sizes("image", reconstruction={"head": "pooled"}))
    initialise(head, generator("head"))
    given = fused()
    pictures = KIND.run(head, given, torch.zeros(0), None)
    assert pictures.shape == (2, 3, 64, 64)
    shuffled = Fused(given.tokens.flip(1), given.mask)  # one vector: where things are is lost
    assert torch.allclose(head(shuffled), pictures, atol=1e-5)
    assert not torch.allclose(drawing_head()(shuffled), drawing_head()(given), atol=1e-2)


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


def test_only_the_grid_head_has_a_closed_form() -> None:
    assert KIND.closed_form(PooledHead(16)) is None
    assert KIND.closed_form(grid_head()) is not None


def test_the_closed_form_can_be_written_again_and_starts_where_the_head_was() -> None:
    head, given = drawing_head(), fused(n=4)
    target = torch.rand(4, 3, 64, 64, generator=generator("target")) - 0.5
    before = {name: parameter.detach().clone() for name, parameter in head.named_parameters()}

    def error() -> float:
        with torch.no_grad():
            return float((head(given) - target).square().mean())

    first = error()
    fit = KIND.closed_form(head)
    assert fit is not None
    with torch.no_grad():
        fit.add(given, head(given), target)
    fit.write(0.1)
    close, weight = error(), head.sketch.weight.detach().clone()
    fit.write(1e3)
    far = error()
    fit.write(0.1)
    assert torch.equal(head.sketch.weight, weight)
    assert close < far < first
    changed = {name for name, parameter in head.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"sketch.weight", "canvas"}
