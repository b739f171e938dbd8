"""The plain architecture against PyTorch's own transformer: one trunk for all, no experts, no paths."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.batch import NO_TOKEN
from fedtap.experiment.planning import plan_report
from fedtap.network.experts import Experts
from fedtap.network.network import Network
from fedtap.network.plain import Plain
from fedtap.pairs import STACKS, ComponentKey, Pair
from fedtap.scenario.scenario import load_scenario
from fedtap.tasks import TASK_TYPES
from network.test_plans import CLIENTS, moved
from tiny import (
    CAPTION,
    CONCEPTS,
    DIGITS,
    EVERY_PAIR,
    EVERYTHING,
    LAW,
    MEMES,
    MOOD,
    REDRAW,
    VQA,
    blueprint,
    build_network,
    jittered,
    mixed_batch,
    modules,
)
from tiny_federation import write_scenario

TRUNK = {
    *(ComponentKey("attention", (stack, "shared")) for stack in STACKS),
    *(ComponentKey("expert", (stack, "shared", "shared")) for stack in STACKS),
}
DIM, HEADS, HIDDEN, SCALE = 16, 2, 16, 6.0 / 2


def layer_of(network: Network, stack: str, layer: int) -> nn.TransformerEncoderLayer:
    """Return PyTorch's transformer layer with the values of one of the trunk's layers, adapters worked in."""
    state = network.state()
    held = {
        **state[ComponentKey("attention", (stack, "shared"))],
        **state[ComponentKey("expert", (stack, "shared", "shared"))],
    }
    frozen = {name.rpartition(".")[2]: buffer for name, buffer in network.named_buffers() if f".{stack}." in f".{name}"}

    def value(name: str) -> Tensor:
        if not frozen:
            return held[name][layer]
        whole = frozen[name][layer]
        return whole + SCALE * held[f"{name}_A"][layer] @ held[f"{name}_B"][layer] if f"{name}_A" in held else whole

    made = nn.TransformerEncoderLayer(
        DIM, HEADS, HIDDEN, dropout=0.0, activation=F.gelu, norm_first=True, batch_first=True
    )
    made.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([value(f"{name}_w").T for name in "qkv"]),
            "self_attn.in_proj_bias": torch.cat([value(f"{name}_b") for name in "qkv"]),
            "self_attn.out_proj.weight": value("o_w").T,
            "self_attn.out_proj.bias": value("o_b"),
            "linear1.weight": value("up_w").T,
            "linear1.bias": value("up_b"),
            "linear2.weight": value("down_w").T,
            "linear2.bias": value("down_b"),
            **{
                f"norm{i}.{long}": value(f"ln{i}_{short}")
                for i in (1, 2)
                for long, short in (("weight", "w"), ("bias", "b"))
            },
        }
    )
    return made


def encoded(network: Network, name: str, x: Tensor) -> Tensor:
    """Return a modality's tokens as its encoder makes them, by the formula."""
    values = network.state()[ComponentKey("encoder", (name,))]
    normal = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    out = normal @ values["project.weight"].T + values["project.bias"]
    out = F.layer_norm(out, (DIM,), values["norm.weight"], values["norm.bias"]) + values["kind"]
    return out + values["position"] if "position" in values else out


def trunk(network: Network, part_tokens: Tensor, mask: Tensor, layers: int) -> Tensor:
    x = part_tokens
    for stack in STACKS:
        for layer in range(layers):
            x = layer_of(network, stack, layer)(x, src_key_padding_mask=~mask)
    return x


@pytest.mark.parametrize("adaptation", ["full", "lora"])
@pytest.mark.parametrize("pair", EVERY_PAIR, ids=lambda pair: f"{pair.type}-{pair.modality}")
@torch.no_grad()
def test_it_is_encoders_a_stack_of_transformer_layers_and_a_head(pair: Pair, adaptation: str) -> None:
    network = build_network((pair,), name="plain", layers=2, adaptation=adaptation)
    network.load(jittered(network.initial_state(), scale=0.2))
    (part,) = batch = mixed_batch([pair], 4)
    (out,) = network(batch)
    streams = [(name, getattr(part, name)) for name in ("image", "text") if getattr(part, name) is not None]
    tokens = torch.cat([encoded(network, name, x) for name, x in streams], dim=1)
    masks = {"image": torch.ones(4, 4, dtype=torch.bool), "text": part.text_mask}
    mask = torch.cat([masks[name] for name, _ in streams], dim=1)
    fused = trunk(network, tokens, mask, layers=2)
    torch.testing.assert_close(out.fused.tokens[mask], fused[mask], atol=1e-4, rtol=1e-4)
    assert torch.equal(out.fused.mask, mask)
    expected = TASK_TYPES[pair.type].run(out.head, type(out.fused)(fused, mask), part.target, network.words)
    real = part.target != NO_TOKEN if pair.type == "text_generation" else slice(None)
    torch.testing.assert_close(out.output[real], expected[real], atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_with_additive_paths_each_modality_runs_through_the_same_trunk_alone() -> None:
    network = build_network((VQA,), name="plain", fusion="paths")
    network.load(jittered(network.initial_state(), scale=0.2))
    (part,) = batch = mixed_batch([VQA], 3)
    (out,) = network(batch)
    image = trunk(network, encoded(network, "image", part.image), torch.ones(3, 4, dtype=torch.bool), layers=1)
    text = trunk(network, encoded(network, "text", part.text), part.text_mask, layers=1)
    torch.testing.assert_close(out.fused.tokens[:, :4], image, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.fused.tokens[:, 4:][part.text_mask], text[part.text_mask], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_an_untrained_adapter_is_the_frozen_trunk_and_an_untrained_trunk_passes_tokens_through() -> None:
    batch = mixed_batch([MOOD, DIGITS], 3)
    for adaptation in ("full", "lora"):
        network = build_network((MOOD, DIGITS), name="plain", adaptation=adaptation)
        network.load(network.initial_state())
        for part, out in zip(batch, network(batch), strict=True):
            name = "image" if part.text is None else "text"
            mask = torch.ones(3, 4, dtype=torch.bool) if part.text is None else part.text_mask
            tokens = encoded(network, name, getattr(part, name))
            # layer_of would work an adapter in; at the start there is nothing to work in
            assert all(not tensor.any() for _, label, tensor in network.state().tensors() if label.endswith("_B"))
            expected = trunk(network, tokens, mask, layers=1) if adaptation == "lora" else tokens
            torch.testing.assert_close(out.fused.tokens[mask], expected[mask], atol=1e-5, rtol=1e-5)
            assert torch.allclose(out.fused.tokens[mask], tokens[mask], atol=1e-3) == (adaptation == "full")


@pytest.mark.parametrize("adaptation", ["full", "lora"])
@pytest.mark.parametrize("pairs", CLIENTS.values(), ids=CLIENTS)
def test_a_plan_is_what_runs_and_what_learns(pairs: tuple[Pair, ...], adaptation: str) -> None:
    architecture = Plain(blueprint(EVERYTHING, adaptation=adaptation))
    held = modules(architecture, architecture.plan(EVERYTHING))
    house = (architecture, held, architecture.frozen_modules(0, {}))
    touched, learning = moved(house, pairs)
    plan = architecture.plan(pairs)
    assert touched == learning == plan
    encoders = {ComponentKey("encoder", (part,)) for pair in pairs for part in pair.parts}
    assert plan == TRUNK | encoders | {ComponentKey("head", (pair.head,)) for pair in pairs}
    for pair in pairs:
        touched, learning = moved(house, (pair,))
        assert touched == learning == architecture.path(pairs, pair.task)


def test_every_pair_is_served_and_an_unknown_task_is_an_error() -> None:
    architecture = Plain(blueprint(EVERYTHING))
    assert architecture.served(EVERYTHING) == EVERYTHING
    with pytest.raises(KeyError, match="nothing"):
        architecture.path([DIGITS], "nothing")


def test_its_trunk_starts_and_is_shaped_as_that_of_the_network_of_experts() -> None:
    plain, experts = (build_network((MOOD, CAPTION), name=name) for name in ("plain", "experts"))
    shared = sorted(plain.architecture.plan((MOOD, CAPTION)))
    assert set(shared) < experts.architecture.plan((MOOD, CAPTION))
    assert plain.initial_state().equal(experts.initial_state(shared))


def test_the_domain_has_no_say() -> None:
    """Two tasks that differ by nothing but their domain share every component and get the same answer."""
    other = Pair("law", LAW.type, LAW.modality, "elsewhere")
    architecture = Plain(blueprint(EVERYTHING))
    assert architecture.plan([LAW]) == architecture.plan([other])
    assert Experts(blueprint(EVERYTHING)).plan([LAW]) != Experts(blueprint(EVERYTHING)).plan([other])


@pytest.mark.parametrize("pair", [MEMES, REDRAW, CONCEPTS], ids=lambda pair: pair.task)
def test_company_changes_no_output(pair: Pair) -> None:
    network = build_network(EVERYTHING, name="plain")
    network.load(jittered(network.initial_state(), scale=0.2))
    whole = mixed_batch(tuple(dict.fromkeys((*EVERY_PAIR, pair))), 2)
    outputs = network(whole)
    (alone,) = (part for part in whole if part.pair == pair)
    (out,) = network((alone,))
    (beside,) = (output for part, output in zip(whole, outputs, strict=True) if part.pair == pair)
    torch.testing.assert_close(out.output, beside.output, atol=1e-5, rtol=1e-5)


# --- in a scenario -------------------------------------------------------------------------------------------------------


def test_a_scenario_names_it_in_a_word_or_among_other_settings(tmp_path: Path) -> None:
    short = write_scenario(tmp_path, "short.yaml", network="plain")
    assert load_scenario(short).network.name == "plain"
    assert load_scenario(short).network.dim == 128
    within = load_scenario(short, ["network.dim=16", "network.layers=2"]).network
    assert (within.name, within.dim, within.layers) == ("plain", 16, 2)
    long = write_scenario(tmp_path, "long.yaml")
    assert load_scenario(long).network.name == "experts"
    changed = load_scenario(long, ["network.name=plain"]).network
    assert (changed.name, changed.dim) == ("plain", 8)
    assert load_scenario(short, ["network.name=experts"]).network.name == "experts"


def test_the_plan_of_a_scenario_is_that_of_its_architecture(tmp_path: Path) -> None:
    report = plan_report(load_scenario(write_scenario(tmp_path), ["network.name=plain"]), "fedavg")
    by_client = {entry["client"]: entry for entry in report["clients"]}
    assert set(by_client["painter"]["kinds"]) == {"attention", "encoder", "expert", "head"}
    assert by_client["painter"]["components"] == 4 + 1 + 2
    assert report["server"]["components"] == 4 + 2 + 4  # one encoder a modality, one head a task
