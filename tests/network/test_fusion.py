"""The fusion's stacked products against a plain loop over examples and routes, and against pretrained layers."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import FlavaImageConfig
from transformers.models.flava.modeling_flava import FlavaLayer

from fedtap.backbones.base import Backbone, FusionSpec
from fedtap.backbones.layers import pre_norm_layer
from fedtap.components import ComponentState
from fedtap.network.architecture import Blueprint
from fedtap.network.blocks import FrozenLayers
from fedtap.network.experts import Experts
from fedtap.network.fusion import Fusion
from fedtap.network.network import Network
from fedtap.pairs import STACKS, ComponentKey, Pair, Route, routes
from tiny import (
    CAPTION,
    CONCEPTS,
    LAW,
    MEDICINE,
    MOOD,
    VQA,
    blueprint,
    build_network,
    generator,
    jittered,
    mixed_batch,
    modules,
)

Components = Mapping[ComponentKey, nn.Module]
LAYERS, DIM, HEADS, HIDDEN = 2, 16, 2, 24


def tokens(n: int, length: int, name: str) -> tuple[Tensor, Tensor]:
    """Return tokens and a mask that hides the last of them in every example but the first."""
    mask = torch.ones(n, length, dtype=torch.bool)
    for i in range(1, n):
        mask[i, length - 1 - i % (length - 1) :] = False
    return torch.randn(n, length, DIM, generator=generator(name)), mask


def weight(held: nn.Module, frozen: nn.Module | None, name: str, layer: int, scale: float) -> Tensor:
    """Return a matrix or vector of one layer with its adapter, if any, worked in."""
    if frozen is None:
        return getattr(held, name)[layer]
    full = getattr(frozen, name)[layer]
    if hasattr(held, f"{name}_A"):
        full = full + scale * getattr(held, f"{name}_A")[layer] @ getattr(held, f"{name}_B")[layer]
    matrix = f"{name[:-2]}_w"
    if hasattr(held, f"{matrix}_P"):  # Co-LoRA: P within the frozen factors of the matrix, Q beside its bias
        a, b = (getattr(frozen, f"{matrix}_{factor}")[layer] for factor in "AB")
        inner = a @ getattr(held, f"{matrix}_P")[layer] if name == matrix else getattr(held, f"{matrix}_Q")[layer]
        full = full + scale * inner @ b
    return full


def one_route(
    x: Tensor, route: Route, domain: str, components: Components, frozen: Mapping[str, FrozenLayers], settings
) -> Tensor:
    """Run ONE example without padding, ``(tokens, dim)``, along one route: the formulas, head by head."""
    experts = components.get(ComponentKey("domain", (domain,)))
    if route.takes_shared_input:
        shared = components[ComponentKey("shared")]
        x = x @ shared.weight.T + shared.bias
    for stack in STACKS:
        block = route.mote_block if stack == "mote" else route.mome_block
        expert = route.mote_expert if stack == "mote" else route.mome_expert
        for layer in range(settings.layers):

            def get(name: str, held: nn.Module, stack: str = stack, layer: int = layer) -> Tensor:
                own = (settings.expert_lora_rank, settings.expert_lora_alpha) if name[0] in "ud" else (None, None)
                scale = (own[1] or settings.lora_alpha) / (own[0] or settings.lora_rank)
                return weight(held, frozen.get(stack), name, layer, scale)

            attention = components[ComponentKey("attention", (stack, block))]
            feed = components[ComponentKey("expert", (stack, *expert))]
            n = F.layer_norm(x, (settings.dim,), get("ln1_w", attention), get("ln1_b", attention))
            q_in = v_in = n
            if experts is not None:
                down, up = experts.down[STACKS.index(stack), layer], experts.up[STACKS.index(stack), layer]
                q_in, v_in = n + F.gelu(n @ down[0]) @ up[0], n + F.gelu(n @ down[1]) @ up[1]
            q = q_in @ get("q_w", attention) + get("q_b", attention)
            k = n @ get("k_w", attention) + get("k_b", attention)
            v = v_in @ get("v_w", attention) + get("v_b", attention)
            width = settings.dim // settings.heads
            heads = []
            for head in range(settings.heads):
                own = slice(head * width, (head + 1) * width)
                heads.append((q[:, own] @ k[:, own].T / width**0.5).softmax(-1) @ v[:, own])
            x = x + torch.cat(heads, dim=1) @ get("o_w", attention) + get("o_b", attention)
            n = F.layer_norm(x, (settings.dim,), get("ln2_w", attention), get("ln2_b", attention))
            x = x + F.gelu(n @ get("up_w", feed) + get("up_b", feed)) @ get("down_w", feed) + get("down_b", feed)
    return x


@pytest.mark.parametrize("adaptation", ["full", "lora", "colora"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("pairs", "unknown"),
    [
        ((CAPTION,), ""),
        ((LAW, MEDICINE, CONCEPTS), ""),
        ((LAW, MEDICINE), "medicine"),
        ((VQA,), "shapes"),
        ((MOOD,), ""),
    ],
)
@torch.no_grad()
def test_stacked_products_equal_a_loop_over_examples_and_routes(
    adaptation: str, layers: int, pairs: tuple[Pair, ...], unknown: str
) -> None:
    apart = {"expert_lora_rank": 3, "expert_lora_alpha": 5.0} if layers > 1 else {}
    architecture = Experts(blueprint(pairs, adaptation=adaptation, layers=layers, **apart))
    components = modules(architecture, architecture.plan(pairs))
    components.pop(ComponentKey("domain", (unknown,)), None)
    frozen = dict(architecture.frozen_modules(0, {}).items())
    settings = architecture.blueprint.network
    x, mask = tokens(7, 5, "loop")
    domain_of = [pairs[i % len(pairs)].domain for i in range(7)]
    domains = [
        (components.get(ComponentKey("domain", (name,))), torch.tensor([i for i in range(7) if domain_of[i] == name]))
        for name in sorted(set(domain_of))
    ]
    ways = routes(pairs[0].modality, pairs[0].family)
    fusion = Fusion(settings, components, frozen)
    fused = fusion(x, mask, ways, components[ComponentKey("shared")], domains)
    apart = fusion.paths(x, mask, ways, components[ComponentKey("shared")], domains)
    for i in range(7):
        alone = [one_route(x[i][mask[i]], way, domain_of[i], components, frozen, settings) for way in ways]
        for path, expected in zip(apart, alone, strict=True):
            torch.testing.assert_close(path[i][mask[i]], expected, atol=5e-5, rtol=1e-4)
        torch.testing.assert_close(fused[i][mask[i]], sum(alone) / 4, atol=1e-5, rtol=1e-4)


# --- against pretrained layers -------------------------------------------------------------------------------------------


def flava_layers(count: int) -> nn.ModuleList:
    """Return random pre-norm transformer layers of the ``transformers`` library, in evaluation mode."""
    config = FlavaImageConfig(
        hidden_size=DIM,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    layers = nn.ModuleList(FlavaLayer(config) for _ in range(count)).eval()
    draw = generator("flava")
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw) + (parameter.dim() == 1) * 0.5)
    return layers.requires_grad_(False)


def linears(layer: nn.Module) -> dict[str, nn.Linear]:
    """Return a layer's linear maps by their canonical names."""
    attention = layer.attention.attention
    return {
        "q": attention.query,
        "k": attention.key,
        "v": attention.value,
        "o": layer.attention.output.dense,
        "up": layer.intermediate.dense,
        "down": layer.output.dense,
    }


def in_sequence(layers: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    hidden = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)[:, None, None, :]
    for layer in layers:
        x = layer(x, hidden)[0]
    return x


@pytest.fixture(scope="module")
def pretrained() -> nn.ModuleList:
    return flava_layers(2 * LAYERS)


def adapted(layers: nn.ModuleList, pair: Pair) -> Experts:
    sizes = blueprint([pair], adaptation="lora", layers=LAYERS, dim=DIM, heads=HEADS, expert_dim=HIDDEN)
    return seeded(sizes, layers)


def seeded(sizes: Blueprint, layers: nn.ModuleList) -> Experts:
    """Return an architecture whose fusion starts from these pretrained layers."""
    spec = replace(sizes.backbone, fusion=FusionSpec(len(layers), DIM, HEADS, HIDDEN, eps=1e-12))
    given = [pre_norm_layer(layer) for layer in layers]
    source = SimpleNamespace(fusion=lambda count: given[:count])
    return Experts(replace(sizes, backbone=spec), cast(Backbone, source))


@pytest.mark.parametrize("pair", [CAPTION, MOOD, VQA], ids=lambda pair: pair.modality)
@torch.no_grad()
def test_at_its_zero_start_every_route_is_the_pretrained_layers(pretrained: nn.ModuleList, pair: Pair) -> None:
    architecture = adapted(pretrained, pair)
    components = {key: architecture.build(key) for key in architecture.plan([pair])}
    for key, module in components.items():
        architecture.start(key, module, 0)
    shared = components[ComponentKey("shared")]
    shared.weight.add_(torch.randn(DIM, DIM, generator=generator("shift")))  # so that its input is told from the other
    fusion = Fusion(architecture.blueprint.network, components, dict(architecture.frozen_modules(0, {}).items()))
    x, mask = tokens(4, 6, "pretrained")
    domains = [(components[ComponentKey("domain", (pair.domain,))], torch.arange(4))]
    for way in routes(pair.modality, pair.family):
        out = fusion(x, mask, (way, way), shared, domains)
        expected = in_sequence(pretrained, shared(x) if way.takes_shared_input else x, mask)
        torch.testing.assert_close(out[mask], expected[mask], atol=1e-5, rtol=1e-5)


def drawn_adapters(architecture: Experts, pair: Pair) -> dict[ComponentKey, nn.Module]:
    """Return components whose low-rank adapters are away from zero and whose domain experts are silent."""
    components = modules(architecture, architecture.plan([pair]))
    with torch.no_grad():
        components[ComponentKey("domain", (pair.domain,))].up.zero_()
    return components


def routed(architecture: Experts, pair: Pair, way: Route, components: Components, x: Tensor, mask: Tensor) -> Tensor:
    fusion = Fusion(architecture.blueprint.network, components, dict(architecture.frozen_modules(0, {}).items()))
    domains = [(components[ComponentKey("domain", (pair.domain,))], torch.arange(len(x)))]
    return fusion(x, mask, (way, way), components[ComponentKey("shared")], domains)


def on_route(way: Route, number: int) -> tuple[str, ComponentKey, ComponentKey]:
    """Return stack, attention and expert of the layer of that number, counted through both stacks."""
    stack = STACKS[number // LAYERS]
    block, expert = (way.mote_block, way.mote_expert) if stack == "mote" else (way.mome_block, way.mome_expert)
    return stack, ComponentKey("attention", (stack, block)), ComponentKey("expert", (stack, *expert))


@pytest.mark.parametrize("index", range(4))
@torch.no_grad()
def test_an_adapter_adds_its_product_to_the_frozen_matrix_once(pretrained: nn.ModuleList, index: int) -> None:
    architecture = adapted(pretrained, VQA)
    components = drawn_adapters(architecture, VQA)
    way = routes(VQA.modality, VQA.family)[index]
    merged = flava_layers(2 * LAYERS)
    for number, layer in enumerate(merged):
        _, attention, expert = on_route(way, number)
        for name, key in (("q", attention), ("v", attention), ("up", expert), ("down", expert)):
            a, b = (getattr(components[key], f"{name}_w_{factor}")[number % LAYERS] for factor in "AB")
            linears(layer)[name].weight.add_((6.0 / 2) * (a @ b).T)  # alpha / r of tiny.SIZES
    x, mask = tokens(4, 6, "merged")
    into = components[ComponentKey("shared")](x) if way.takes_shared_input else x
    out = routed(architecture, VQA, way, components, x, mask)
    torch.testing.assert_close(out[mask], in_sequence(merged, into, mask)[mask], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_adapters_agree_with_the_peft_library(pretrained: nn.ModuleList) -> None:
    peft = pytest.importorskip("peft")
    architecture = adapted(pretrained, MOOD)
    components = drawn_adapters(architecture, MOOD)
    way = routes(MOOD.modality, MOOD.family)[2]
    targets = r"\d+\.(attention\.attention\.(query|value)|intermediate\.dense|output\.dense)"
    config = peft.LoraConfig(r=2, lora_alpha=6.0, lora_dropout=0.0, target_modules=targets, bias="none")
    layers = peft.inject_adapter_in_model(config, flava_layers(2 * LAYERS))
    for number, layer in enumerate(layers):
        _, attention, expert = on_route(way, number)
        for name, key in (("q", attention), ("v", attention), ("up", expert), ("down", expert)):
            a, b = (getattr(components[key], f"{name}_w_{factor}")[number % LAYERS] for factor in "AB")
            linear = linears(layer)[name]
            linear.lora_A["default"].weight.copy_(a.T)
            linear.lora_B["default"].weight.copy_(b.T)
    x, mask = tokens(4, 6, "peft")
    out = routed(architecture, MOOD, way, components, x, mask)
    torch.testing.assert_close(out[mask], in_sequence(layers, x, mask)[mask], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("adaptation", ["lora", "colora"])
@torch.no_grad()
def test_dropout_falls_on_the_adapters_in_training_only(adaptation: str) -> None:
    network = build_network([MOOD, LAW], adaptation=adaptation, lora_dropout=0.5)
    plain = build_network([MOOD, LAW], adaptation=adaptation)
    batch = mixed_batch([MOOD, LAW])

    def outputs(of: Network, state: ComponentState, *, training: bool) -> list[Tensor]:
        of.load(state)
        of.train(training)
        torch.manual_seed(3)
        return [out.output for out in of(batch)]

    start, moved = network.initial_state(), jittered(network.initial_state())
    same = zip(outputs(network, moved, training=False), outputs(plain, moved, training=True), strict=True)
    assert all(torch.equal(a, b) for a, b in same), "dropout outside training"
    dropped = zip(outputs(network, moved, training=True), outputs(plain, moved, training=True), strict=True)
    assert not any(torch.allclose(a, b) for a, b in dropped)
    if adaptation == "lora":  # B starts at zero: what is dropped from an adapter that gives nothing changes nothing
        silent = zip(outputs(network, start, training=True), outputs(plain, start, training=True), strict=True)
        assert all(torch.equal(a, b) for a, b in silent)


def test_given_layers_also_start_full_adaptation(pretrained: nn.ModuleList) -> None:
    sizes = blueprint([MOOD], layers=LAYERS, dim=DIM, heads=HEADS, expert_dim=HIDDEN)
    architecture = seeded(sizes, pretrained)
    for stack, first in (("mote", 0), ("mome", LAYERS)):
        key = ComponentKey("attention", (stack, "shared"))
        module = architecture.build(key)
        architecture.start(key, module, 0)
        for layer in range(LAYERS):
            expected = pre_norm_layer(pretrained[first + layer])
            for name, parameter in module.named_parameters():
                assert torch.equal(parameter[layer], expected[name])


@pytest.mark.parametrize(("adaptation", "inputs"), [("full", [3, 4]), ("lora", [2, 4])])
@torch.no_grad()
def test_what_routes_share_is_multiplied_once(
    adaptation: str, inputs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four routes start from two inputs, and two of them with one block: frozen layers meet two, trained ones three."""
    architecture = Experts(blueprint([MOOD], adaptation=adaptation))
    components = modules(architecture, architecture.plan([MOOD]))
    fusion = Fusion(architecture.blueprint.network, components, dict(architecture.frozen_modules(0, {}).items()))
    project, seen = Fusion._project, []

    def noted(self: Fusion, x: Tensor, weights: Mapping[str, Tensor], name: str, *rest: Any, **by_name: Any) -> Tensor:
        if name == "k":
            seen.append(len(x))
        return project(self, x, weights, name, *rest, **by_name)

    monkeypatch.setattr(Fusion, "_project", noted)
    x, mask = tokens(3, 4, "shared")
    ways = routes(MOOD.modality, MOOD.family)
    domains = [(components[ComponentKey("domain", (MOOD.domain,))], torch.arange(3))]
    fusion(x, mask, ways, components[ComponentKey("shared")], domains)
    assert seen == inputs
