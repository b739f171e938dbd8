"""Encoders in parts, held against transformers' own forward pass."""

import pytest
import torch
from transformers import ViltConfig, ViltModel

from encoders import KINDS, PICTURES, TEXT, VISION, WIDE, build, config_of, inputs, own_output
from fedtap.backbones.encoders import FACTS, facts_of, skeleton, split
from fedtap.backbones.encoders.split import FusedAttention
from fedtap.runtime.errors import UserError


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_in_turn_are_the_model(kind: str) -> None:
    values, mask = inputs(kind)
    whole = build(kind)  # before it is taken apart: the parts are the model's own
    expected = own_output(whole, kind, values, mask)
    out = split(whole)(values, mask)
    assert out.shape == expected.shape
    real = torch.ones(out.shape[:2], dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(out[real], expected[real], rtol=1e-5, atol=2e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_and_the_rest_are_the_whole(kind: str) -> None:
    values, mask = inputs(kind)
    apart = split(build(kind))
    prefix = apart.run(apart.embed(values), mask, stop=2)
    torch.testing.assert_close(apart.close(apart.run(prefix, mask, start=2)), apart(values, mask))
    assert prefix.shape[2] == apart.width(2)
    changed = apart.run(prefix, mask, start=2)
    assert prefix.shape != changed.shape or not torch.allclose(prefix, changed)


@pytest.mark.parametrize("kind", VISION)
def test_pictures_of_another_size_have_interpolated_positions(kind: str) -> None:
    side = 64 if kind in ("swin", "convnext", "resnet") else 48
    values, _ = inputs(kind, side=side)
    whole = build(kind)
    expected = own_output(whole, kind, values, None)
    small = inputs(kind)[0]
    apart = split(build(kind))
    apart(small)
    torch.testing.assert_close(apart(values), expected, rtol=1e-5, atol=2e-5)
    grid = FACTS[kind].grid
    assert grid is not None
    assert expected.shape[1] == (side // grid.stride(whole.config)) ** 2 + grid.lead(whole.config)


@pytest.mark.parametrize("kind", TEXT)
def test_padding_changes_no_real_token(kind: str) -> None:
    values, _ = inputs(kind)
    apart = split(build(kind))
    short = apart(values[:, :4], torch.ones(2, 4, dtype=torch.bool))
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[:, :4] = True
    torch.testing.assert_close(apart(values, mask)[:, :4], short, rtol=1e-5, atol=1e-5)
    zeros = values.masked_fill(~mask, 0)  # where the network is given token ids, it is padded with zeros
    torch.testing.assert_close(apart(zeros, mask)[:, :4], short, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_does_not_depend_on_its_place_in_the_batch(kind: str) -> None:
    values, mask = inputs(kind)
    apart = split(build(kind))
    turned = apart(values.flip(0), None if mask is None else mask.flip(0)).flip(0)
    real = slice(None) if mask is None else mask
    torch.testing.assert_close(turned[real], apart(values, mask)[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", TEXT)
def test_a_text_may_be_as_long_as_is_said(kind: str) -> None:
    longest = min(facts_of(config_of(kind)).longest(config_of(kind)) or 512, 512)
    ids, _ = inputs(kind, length=longest)
    ids[1] = ids[0]
    assert torch.isfinite(split(build(kind))(ids, torch.ones(ids.shape, dtype=torch.bool))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_training_mode_changes_nothing(kind: str) -> None:
    values, mask = inputs(kind)
    apart = split(build(kind))
    quiet = apart(values, mask)
    torch.testing.assert_close(apart.train()(values, mask), quiet)
    torch.testing.assert_close(apart(values, mask), quiet)  # nor do running means move


def test_flava_attends_in_one_fused_call_and_the_others_choose_theirs() -> None:
    fused = [type(part) for part in split(build("flava_image_model")).modules()]
    assert fused.count(FusedAttention) == 3
    assert FusedAttention not in [type(part) for part in split(build("vit")).modules()]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_without_weights_is_what_there_is(kind: str) -> None:
    bones, apart = skeleton(config_of(kind)), split(build(kind))
    assert bones.roles == apart.roles
    assert set(bones.facts.adapted) <= set(bones.roles)
    assert [p.shape for p in bones.parameters()] == [p.shape for p in apart.parameters()]
    assert {p.device.type for p in bones.parameters()} == {"meta"}
    assert bones.facts.dim(bones.config) == 32


def test_the_roles_of_a_block_follow_from_its_configuration() -> None:
    gated, plain = (list(skeleton(config_of("t5", feed_forward_proj=way)).roles) for way in ("gated-gelu", "relu"))
    assert gated == ["query", "key", "value", "output", "gate", "up", "down"]
    assert plain == ["query", "key", "value", "output", "up", "down"]
    assert list(skeleton(config_of("resnet", layer_type="basic")).roles) == ["conv1", "conv2"]
    assert list(skeleton(config_of("convnext")).roles) == ["up", "down"], "a convolution of single channels is none"


def test_a_model_of_a_type_that_is_not_known_is_refused_with_those_that_are() -> None:
    model = ViltModel(ViltConfig(**WIDE, **PICTURES, vocab_size=50), add_pooling_layer=False)
    with pytest.raises(UserError, match=r"type 'vilt' cannot be a tower; use one of albert, .*vit"):
        split(model)


def test_a_configuration_that_makes_no_model_is_one_line() -> None:
    with pytest.raises(UserError, match=r"backbone: config.json makes no bert \(.*multiple.*\); restore it"):
        skeleton(config_of("bert", num_attention_heads=5))
    with pytest.raises(UserError, match=r"asks for 100000 layers; 1000 are the most"):
        skeleton(config_of("bert", num_hidden_layers=100_000))


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_may_be_multiplied_in_bfloat16(kind: str) -> None:
    values, mask = inputs(kind)
    apart = split(build(kind))
    expected = apart(values, mask)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = apart(values, mask).float()
    real = slice(None) if mask is None else mask
    off = (rounded - expected)[real].norm() / expected[real].norm()
    assert 0 < off < 0.1
