from collections.abc import Mapping

import peft
import pytest
import torch
from torch import nn

from encoders import KINDS, build, config_of, inputs
from fedtap.aggregation.averaging import mean_of
from fedtap.backbones import encoders
from fedtap.backbones.encoders import SplitEncoder, check_targets, split
from fedtap.backbones.lora import AdaptedLayers, Adapters
from fedtap.components import ComponentKey, ComponentState
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings, LoraSettings

SHARED = "albert"
"""Its layers are one and the same, and so are adapted all or not at all."""


def settings(**lora: object) -> BackboneSettings:
    return BackboneSettings(lora=LoraSettings(rank=2, alpha=6.0, **lora))


def adapters(first: int = 1, dropout: float = 0.0, kind: str = "vit", **more: object) -> Adapters:
    layers = "all" if first == 0 else 3 - first
    found = encoders.adapters(settings(layers=layers, dropout=dropout, **more), config_of(kind), kind)
    assert found is not None
    return found


def matrices(which: Adapters, *, silent: bool = False) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in which.shapes().items()}
    return {
        name: nn.Parameter(torch.zeros_like(m) if silent and name.endswith("B") else m) for name, m in drawn.items()
    }


def run(layers: AdaptedLayers, encoder: SplitEncoder, kind: str, first: int) -> torch.Tensor:
    values, mask = inputs(kind)
    return layers(values if first == 0 else encoder.run(encoder.embed(values), mask, stop=first), mask)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 2])
def test_an_adapter_at_zero_is_the_pretrained_encoder(kind: str, first: int) -> None:
    first = 0 if kind == SHARED else first
    encoder = split(build(kind))
    layers = AdaptedLayers(encoder, adapters(first, kind=kind))
    layers.hold(matrices(adapters(first, kind=kind), silent=True))
    torch.testing.assert_close(run(layers, encoder, kind, first), encoder(*inputs(kind)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_added_once_to_what_the_frozen_map_gives(kind: str) -> None:
    """Every linear map that an architecture has is adapted; the reference has W + (alpha / r) A B written into its weights."""
    encoder = split(build(kind))
    first = 0 if kind == SHARED else 1
    which = adapters(first, kind=kind, targets=tuple(encoder.roles))
    layers, held = AdaptedLayers(encoder, which), matrices(which)
    layers.hold(held)
    adapted = run(layers, encoder, kind, first)
    merged = split(build(kind))
    for name in which.matrices:
        part = merged.get_submodule(merged.place(name))
        with torch.no_grad():
            part.weight += 6.0 / 2 * (held[f"{name}_A"] @ held[f"{name}_B"]).T.view_as(part.weight)  # type: ignore[operator]
    scale = float(adapted.detach().abs().max())
    torch.testing.assert_close(adapted / scale, merged(*inputs(kind)) / scale, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted, encoder(*inputs(kind)), atol=1e-2)
    assert {name.partition("_")[2] for name in which.matrices} == set(encoder.roles)


def test_each_tower_takes_the_targets_that_it_has() -> None:
    both = {"the one": config_of("vit"), "the other": config_of("modernbert")}
    asked = settings(targets=("value", "qkv", "up"))
    check_targets(asked, both)
    names = [list(encoders.adapters(asked, config, place).matrices)[:2] for place, config in both.items()]  # type: ignore[union-attr]
    assert names == [["layer00_value", "layer00_up"], ["layer00_qkv", "layer00_up"]]
    with pytest.raises(
        UserError, match=r"'qvk' is no part of a layer; the one has query, .*; the other has qkv, output"
    ):
        check_targets(settings(targets=("value", "qvk")), both)
    with pytest.raises(UserError, match=r"the other has nothing of value to adapt; name some of qkv, output, up, down"):
        encoders.adapters(settings(targets=("value",)), both["the other"], "the other")


def test_layers_that_share_their_weights_have_adapters_once() -> None:
    assert list(adapters(0, kind=SHARED).matrices) == ["layer00_query", "layer00_value"]
    with pytest.raises(UserError, match=r"backbone.lora.layers: the layers of albert share their weights.*; give all"):
        adapters(1, kind=SHARED)


def test_the_sizes_of_matrices_are_those_of_each_layer() -> None:
    assert adapters(0, kind="swin").matrices["layer01_query"] == (16, 16)
    assert adapters(0, kind="swin").matrices["layer02_query"] == (32, 32)
    assert adapters(0, kind="resnet").matrices["layer02_conv2"] == (8 * 9, 8)
    assert adapters(0, kind="t5").matrices["layer00_query"] == (32, 24)


def test_gradients_reach_the_matrices_and_nothing_else() -> None:
    encoder = split(build("vit"))
    layers, held = AdaptedLayers(encoder, adapters(1)), matrices(adapters(1))
    layers.hold(held)
    run(layers, encoder, "vit", 1).square().sum().backward()
    assert all(matrix.grad is not None and matrix.grad.abs().sum() > 0 for matrix in held.values())
    assert [
        parameter for parameter in encoder.parameters() if parameter.requires_grad or parameter.grad is not None
    ] == []
    assert {id(p) for p in layers.parameters() if p.requires_grad} == {id(matrix) for matrix in held.values()}


def test_two_networks_adapt_one_encoder_each_for_itself_and_copy_none_of_it() -> None:
    encoder = split(build("bert"))
    one, two = AdaptedLayers(encoder, adapters()), AdaptedLayers(encoder, adapters())
    one.hold(matrices(adapters(), silent=True))
    two.hold(matrices(adapters()))
    frozen = {tensor.data_ptr() for tensor in encoder.parameters()}
    for layers in (one, two):
        assert {tensor.data_ptr() for tensor in layers.parameters() if not tensor.requires_grad} == frozen
    plain = encoder(*inputs("bert"))
    torch.testing.assert_close(run(one, encoder, "bert", 1), plain)
    assert not torch.allclose(run(two, encoder, "bert", 1), plain, atol=1e-2)
    torch.testing.assert_close(encoder(*inputs("bert")), plain)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_dropout_falls_on_the_adapters_in_training_only(kind: str) -> None:
    encoder = split(build(kind))
    layers = AdaptedLayers(encoder, adapters(dropout=0.5, kind=kind))
    layers.hold(matrices(adapters(kind=kind)))
    quiet = run(layers.eval(), encoder, kind, 1)
    torch.testing.assert_close(run(layers, encoder, kind, 1), quiet)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.allclose(run(layers.train(), encoder, kind, 1), quiet, atol=1e-3)
    layers.hold(matrices(adapters(kind=kind), silent=True))  # nothing to drop: the frozen part must not be dropped from
    torch.testing.assert_close(run(layers, encoder, kind, 1), encoder(*inputs(kind)), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing.:FutureWarning"
)  # peft asks transformers by the old name
def test_the_shapes_are_those_of_peft() -> None:
    model = build("vit")
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"])
    named = peft.get_peft_model(model, config).named_parameters()
    theirs = sorted(tuple(parameter.T.shape) for name, parameter in named if "lora_" in name)
    shapes: Mapping[str, tuple[int, int]] = adapters(0).shapes()
    assert sorted(shapes.values()) == theirs
    assert len(shapes) == 3 * 2 * 2


def test_whatever_is_not_adapted_is_missing_from_the_matrices() -> None:
    layers = AdaptedLayers(split(build("vit")), adapters(0))
    with pytest.raises(KeyError, match="layer00_query_A"):
        layers.hold(matrices(adapters(1)))


def test_the_mean_of_products_is_that_of_the_towers_adapters_too() -> None:
    """Averaged as products, two holders' adapters give the mean of what they add, where it has their rank."""
    key = ComponentKey("encoder", ("image",))
    one, two = (matrices(adapters(2)) for _ in range(2))
    with torch.no_grad():
        for name in two:
            two[name] = nn.Parameter(3 * one[name] if name.endswith("B") else one[name].clone())
    states = [({key: {f"adapters.{n}": m.detach() for n, m in held.items()}}, {key: 1}) for held in (one, two)]
    mean = mean_of([(ComponentState(state), counts) for state, counts in states], "product")[key]
    for name in adapters(2).matrices:
        product = mean[f"adapters.{name}_A"] @ mean[f"adapters.{name}_B"]
        torch.testing.assert_close(product, 2 * (one[f"{name}_A"] @ one[f"{name}_B"]).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["bert", "deberta-v2", "flava_image_model", "modernbert", "resnet", "swin", "t5", "vit"]
)
def test_layers_computed_again_give_the_same_and_keep_less(kind: str) -> None:
    encoder = split(build(kind))
    which = adapters(0, dropout=0.5, kind=kind)
    layers, held = AdaptedLayers(encoder, which), matrices(which)
    layers.hold(held)
    ends = []
    for recompute in (False, True):
        layers.recompute = recompute
        kept: list[int] = []

        def packed(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(tensor.nbytes)
            return tensor

        for matrix in held.values():
            matrix.grad = None
        torch.manual_seed(7)
        with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
            out = run(layers, encoder, kind, 0)
            before = sum(kept)
        out.square().sum().backward()
        ends.append((out.detach(), {name: matrix.grad for name, matrix in held.items()}, before))
    (plain, slopes, much), (again, others, little) = ends
    assert torch.equal(plain, again), "dropout is drawn anew"
    for name, slope in slopes.items():
        torch.testing.assert_close(slope, others[name], rtol=1e-5, atol=1e-6)
    assert little < much / 2
