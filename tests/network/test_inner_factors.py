"""Adapters of which only the inner factors are trained: zero at the start, small, and linear in what is averaged."""

import pytest
import torch

from fedtap.components import ComponentState
from fedtap.network.blocks import InnerFactors, outer_factors
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey
from fedtap.training.loop import train
from tiny import DIGITS, MOOD, blueprint, build_network, jittered, local_client, mixed_batch

ADAPTERS = ("attention", "expert")
PAIRS = (DIGITS, MOOD)


def fused(network: Network, state: ComponentState) -> list[torch.Tensor]:
    network.load(state)
    with torch.no_grad():
        return [out.fused.tokens for out in network(mixed_batch(PAIRS))]


def test_the_untrained_adapter_is_nothing_beside_the_frozen_layers() -> None:
    lora, colora = (build_network(PAIRS, adaptation=adaptation, layers=2) for adaptation in ("lora", "colora"))
    start, common = colora.initial_state(), lora.initial_state()
    for key, named in start.items():
        if key.kind in ADAPTERS:
            assert not any(bool(tensor.any()) for tensor in named.values())
        else:
            assert start.slice([key]).equal(common.slice([key]))
    expected = fused(lora, common)  # whose adapters are zero too, by B = 0
    for out, wanted in zip(fused(colora, start), expected, strict=True):
        torch.testing.assert_close(out, wanted, atol=1e-6, rtol=0)
    moved = start.merge(jittered(start.slice([key for key in start if key.kind in ADAPTERS])))
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(fused(colora, moved), expected, strict=True))


def test_it_learns_from_its_zero_start_and_the_frozen_factors_do_not_move() -> None:
    network = build_network(PAIRS, adaptation="colora")
    start = network.initial_state()
    frozen = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.load(start)
    train(network, [mixed_batch(PAIRS)] * 3, [0.1] * 3, local_client(PAIRS).scenario.training)
    after = network.state()
    adapters = [key for key in start if key.kind in ADAPTERS]
    assert all(not torch.equal(after[key][name], start[key][name]) for key in adapters for name in start[key])
    assert len([name for name in frozen if name.endswith(("_A", "_B"))]) == 2 * 2 * 4  # stacks, factors, matrices
    assert all(torch.equal(buffer, frozen[name]) for name, buffer in network.named_buffers())


def test_a_component_holds_rank_by_rank_numbers_per_matrix_and_layer() -> None:
    for rank, layers in ((2, 1), (3, 2)):
        state = build_network(PAIRS, adaptation="colora", lora_rank=rank, layers=layers).initial_state()
        for key in (key for key in state if key.kind in ADAPTERS):
            assert state.slice([key]).nbytes == 4 * layers * 2 * (rank * rank + rank)
            assert {name[-2:] for name in state[key]} == {"_P", "_Q"}


@pytest.mark.parametrize("rank", [3, 16])
def test_outer_factors_are_orthonormal(rank: int) -> None:
    settings = blueprint([], lora_rank=rank, layers=2).network
    factors = outer_factors(settings, torch.Generator().manual_seed(0))
    assert set(factors) == {f"{m}_w_{f}" for m in ("q", "v", "up", "down") for f in "AB"}
    for name, stacked in factors.items():
        for factor in stacked:
            product = factor.T @ factor if name.endswith("_A") else factor @ factor.T
            torch.testing.assert_close(product, torch.eye(rank), atol=1e-5, rtol=0)
        assert not torch.allclose(stacked[0], stacked[1])


def test_outer_factors_depend_on_the_seed_and_not_on_who_holds_what() -> None:
    few, many, other = (
        {name: buffer for name, buffer in network.named_buffers() if name.endswith(("_A", "_B"))}
        for network in (
            build_network((MOOD,), adaptation="colora", seed=5),
            build_network(PAIRS, adaptation="colora", seed=5),
            build_network((MOOD,), adaptation="colora", seed=6),
        )
    )
    assert few.keys() == many.keys() == other.keys()
    assert all(torch.equal(few[name], many[name]) and not torch.equal(few[name], other[name]) for name in few)


def test_the_mean_of_the_factors_is_the_factor_of_the_mean() -> None:
    settings = blueprint([], layers=1).network
    frozen = outer_factors(settings, torch.Generator().manual_seed(0))
    key, draw = ComponentKey("attention", ("mote", "shared")), torch.Generator().manual_seed(1)
    states = []
    for _ in range(2):
        module = InnerFactors(("q_w", "v_w"), settings)
        states.append({name: torch.randn(p.shape, generator=draw) for name, p in module.named_parameters()})
    mean = ComponentState({key: states[0]}).zip(lambda a, b: (a + b) / 2, ComponentState({key: states[1]}))[key]
    for matrix in ("q_w", "v_w"):
        a, b = frozen[f"{matrix}_A"], frozen[f"{matrix}_B"]
        products = [a @ state[f"{matrix}_P"] @ b for state in states]
        torch.testing.assert_close(a @ mean[f"{matrix}_P"] @ b, (products[0] + products[1]) / 2)
