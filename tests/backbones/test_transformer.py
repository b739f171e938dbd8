import pytest
import torch
from transformers import ViltConfig, ViltModel

from encoders import PICTURES, WIDE, build, inputs
from fedtap.backbones.transformer import FAMILIES, FusedAttention, Transformer
from fedtap.runtime.errors import UserError


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_the_parts_in_turn_are_the_model(kind: str) -> None:
    values, mask = inputs(kind)
    whole = build(kind)  # before it is taken apart: the parts are the model's own
    expected = (
        whole(values).last_hidden_state if mask is None else whole(values, attention_mask=mask.long()).last_hidden_state
    )
    apart = Transformer(whole)
    out = apart(values, mask)
    real = torch.ones(out.shape[:2], dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(out[real], expected[real], rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_a_prefix_and_the_rest_are_the_whole(kind: str) -> None:
    values, mask = inputs(kind)
    apart = Transformer(build(kind))
    prefix = apart.run(apart.embed(values), mask, stop=2)
    torch.testing.assert_close(apart.close(apart.run(prefix, mask, start=2)), apart(values, mask))
    assert not torch.allclose(prefix, apart.run(prefix, mask, start=2))


@pytest.mark.parametrize("kind", [kind for kind in sorted(FAMILIES) if FAMILIES[kind].pixels])
def test_pictures_of_another_size_have_interpolated_positions(kind: str) -> None:
    values, _ = inputs(kind, side=48)
    whole = build(kind)
    told = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
    expected = whole(values, **told).last_hidden_state
    assert expected.shape[1] in (36, 37)
    torch.testing.assert_close(Transformer(whole)(values), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in sorted(FAMILIES) if not FAMILIES[kind].pixels])
def test_padding_changes_no_real_token(kind: str) -> None:
    values, _ = inputs(kind)
    apart = Transformer(build(kind))
    short = apart(values[:, :4], torch.ones(2, 4, dtype=torch.bool))
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[:, :4] = True
    torch.testing.assert_close(apart(values, mask)[:, :4], short, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_training_mode_wakes_no_dropout(kind: str) -> None:
    values, mask = inputs(kind)
    model = build(kind)
    apart = Transformer(model)
    quiet = apart(values, mask)
    torch.testing.assert_close(apart.train()(values, mask), quiet)


def test_flava_attends_in_one_fused_call_and_the_others_choose_theirs() -> None:
    fused = [type(part) for part in Transformer(build("flava_image_model")).modules()]
    assert fused.count(FusedAttention) == 3
    assert FusedAttention not in [type(part) for part in Transformer(build("vit")).modules()]


def test_the_projections_to_adapt_are_found_by_name() -> None:
    names = {kind: (apart.query, apart.value) for kind in FAMILIES if (apart := Transformer(build(kind)))}
    assert names["bert"] == ("attention.self.query", "attention.self.value")
    assert names["flava_image_model"] == ("attention.attention.query", "attention.attention.value")
    assert names["vit"] == ("attention.q_proj", "attention.v_proj")


def test_a_model_of_a_type_that_is_not_known_is_refused_with_those_that_are() -> None:
    model = ViltModel(ViltConfig(**WIDE, **PICTURES, vocab_size=50), add_pooling_layer=False)
    with pytest.raises(UserError, match=r"type 'vilt' cannot be adapted; use one of bert, .*vit"):
        Transformer(model)
