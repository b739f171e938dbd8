"""Two adapters a matrix under a gate: by hand, nothing at the start, and each input with a mixture of its own."""

import pytest
import torch

from fedtap.components import ComponentState
from fedtap.network.blocks import DualLowRank, direction, gated
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey
from tiny import DIGITS, MOOD, blueprint, build_network, jittered, mixed_batch

ADAPTERS = ("attention", "expert")
PAIRS = (DIGITS, MOOD)
DUAL = ("dual", "dual_near")


def fused(network: Network, state: ComponentState) -> list[torch.Tensor]:
    network.load(state)
    with torch.no_grad():
        return [out.fused.tokens for out in network(mixed_batch(PAIRS))]


def with_values(state: ComponentState, **values: float) -> ComponentState:
    """Return a state in which the tensors of these names have one value throughout."""
    return ComponentState(
        {
            key: {name: torch.full_like(t, values[name]) if name in values else t for name, t in named.items()}
            for key, named in state.items()
        }
    )


@pytest.mark.parametrize("adaptation", DUAL)
def test_the_untrained_adapters_are_nothing_beside_the_frozen_layers(adaptation: str) -> None:
    lora, dual = (build_network(PAIRS, adaptation=each, layers=2) for each in ("lora", adaptation))
    for out, wanted in zip(fused(dual, dual.initial_state()), fused(lora, lora.initial_state()), strict=True):
        torch.testing.assert_close(out, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("adaptation", "first", "second"), [("dual", 40.0, -200.0), ("dual_near", 3.0, -0.5)])
@pytest.mark.parametrize("name", ["experts", "plain"])
def test_an_open_gate_leaves_the_first_adapter_and_a_shut_one_the_second(
    adaptation: str, first: float, second: float, name: str
) -> None:
    lora, dual = (build_network(PAIRS, adaptation=each, layers=2, name=name) for each in ("lora", adaptation))
    state = jittered(dual.initial_state(), scale=0.1)
    for bias, infix in ((first, ""), (second, "_shared")):
        alone = ComponentState(
            {
                key: {n: named[f"{n[:-2]}{infix}{n[-2:]}"] if n.endswith(("_A", "_B")) else named[n] for n in one}
                for (key, named), one in zip(state.items(), lora.initial_state().values(), strict=True)
            }
        )
        gates = with_values(state, gate_w=0.0, gate_b=bias)
        for out, wanted in zip(fused(dual, gates), fused(lora, alone), strict=True):
            torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("adaptation", DUAL)
def test_a_gate_gives_each_example_its_own_mixture(adaptation: str) -> None:
    """By hand: an example's tokens are those of a model with a constant gate of the value that the example's direction has."""
    network = build_network((DIGITS,), adaptation=adaptation, layers=1, name="plain")
    state = jittered(network.initial_state(), scale=0.1)
    w = 0.6 * torch.nn.functional.normalize(torch.arange(16.0) - 4, dim=0)
    state = ComponentState(
        {
            key: {
                n: w[None] if n == "gate_w" else torch.zeros_like(t) + 0.3 if n == "gate_b" else t
                for n, t in named.items()
            }
            for key, named in state.items()
        }
    )
    batch = mixed_batch((DIGITS,))
    network.load(state)
    with torch.no_grad():
        (out,) = network(batch)
    (stream,) = out.streams
    assert stream.direction is not None
    torch.testing.assert_close(stream.direction.norm(dim=1), torch.ones(3))
    shares = [float(gated(d @ w + 0.3, adaptation)) for d in stream.direction]
    assert max(shares) - min(shares) > 1e-3
    for i, share in enumerate(shares):
        bias = share if adaptation == "dual_near" else float(torch.tensor(share).logit())
        network.load(with_values(state, gate_w=0.0, gate_b=bias))
        with torch.no_grad():
            (constant,) = network(batch)
        torch.testing.assert_close(out.fused.tokens[i], constant.fused.tokens[i], atol=1e-5, rtol=1e-4)


def test_a_direction_is_the_mean_of_real_tokens_of_length_one() -> None:
    tokens = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]], requires_grad=True)
    found = direction(tokens, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8]]))
    assert not found.requires_grad


def test_a_gates_share_by_hand() -> None:
    logits = torch.tensor([-1.0, 0.25, 2.0])
    assert gated(logits, "dual_near").tolist() == [0.0, 0.25, 1.0]
    torch.testing.assert_close(gated(logits, "dual"), torch.tensor([0.26894, 0.56218, 0.88080]), atol=1e-5, rtol=0)


def test_what_a_component_holds_and_where_it_starts() -> None:
    settings = blueprint([], lora_rank=3, layers=2, adaptation="dual").network
    module = DualLowRank(("q_w", "v_w"), settings)
    module.start(torch.Generator().manual_seed(0))
    named = dict(module.named_parameters())
    expected = {f"{m}{infix}_{side}" for m in ("q_w", "v_w") for infix in ("", "_shared") for side in "AB"}
    assert named.keys() == expected | {"gate_w", "gate_b"}
    assert {name for name, tensor in named.items() if bool(tensor.any())} == {n for n in expected if n.endswith("_A")}
    assert not torch.equal(named["q_w_A"], named["q_w_shared_A"])
    assert ComponentKey("attention", ("mote", "shared")) in build_network(PAIRS, adaptation="dual").initial_state()
