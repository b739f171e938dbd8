"""The mean of low-rank factors as a product, against NumPy's own SVD; what of it is free to choose is chosen by rule."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedtap.aggregation.averaging import mean_of, mean_product
from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, ComponentState, weighted_mean
from tiny import DIGITS, MOOD, build_network, generator, jittered

ADAPTED, OTHER = ComponentKey("attention", ("mote", "text")), ComponentKey("head", ("mood",))
Factors = list[tuple[Tensor, Tensor, int]]


def factors(holders: int, *lead: int, rows: int, columns: int, rank: int, seed: int = 0) -> Factors:
    """Return random A ``(*lead, rows, rank)``, B ``(*lead, rank, columns)`` and counts 2, 5, 8, ..."""
    draw = generator("factors", holders, lead, rows, columns, rank, seed)
    return [
        (
            torch.randn(*lead, rows, rank, generator=draw),
            torch.randn(*lead, rank, columns, generator=draw),
            2 + 3 * number,
        )
        for number in range(holders)
    ]


def exact_mean(given: Factors) -> np.ndarray:
    """Return the weighted mean of the products, in float64."""
    products = [a.numpy().astype(np.float64) @ b.numpy().astype(np.float64) for a, b, _ in given]
    return np.average(products, axis=0, weights=[count for *_, count in given])


def truncated(matrix: np.ndarray, rank: int) -> np.ndarray:
    """Return the best approximation of a matrix by one of this rank, by NumPy."""
    u, s, v = np.linalg.svd(matrix)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


def product(pair: tuple[Tensor, Tensor]) -> np.ndarray:
    return pair[0].numpy().astype(np.float64) @ pair[1].numpy().astype(np.float64)


def holders_of(given: Factors, **more: Tensor) -> list[tuple[ComponentState, dict[ComponentKey, int]]]:
    """Return a component with these factors, and with other tensors, at as many holders."""
    return [
        (ComponentState({ADAPTED: {"q_w_A": a, "q_w_B": b, **more}}), {ADAPTED: count, OTHER: 1})
        for a, b, count in given
    ]


@pytest.mark.parametrize(("rows", "columns"), [(7, 5), (5, 7)])
def test_each_layer_of_a_stack_is_the_best_approximation_of_its_own_mean(rows: int, columns: int) -> None:
    given = factors(4, 3, rows=rows, columns=columns, rank=2)
    a, b = mean_product(given)
    assert (a.shape, b.shape, a.dtype) == ((3, rows, 2), (3, 2, columns), torch.float32)
    exact = exact_mean(given)
    for layer in range(3):
        expected = truncated(exact[layer], 2)
        np.testing.assert_allclose(product((a[layer], b[layer])), expected, atol=1e-5)
        assert np.linalg.norm(exact[layer] - expected) > 0.1  # the cut is a real one


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_it_is_the_best_approximation_whatever_the_sizes(
    holders: int, rows: int, columns: int, rank: int, seed: int
) -> None:
    given = factors(holders, rows=rows, columns=columns, rank=rank, seed=seed)
    a, b = mean_product(given)
    assert (a.shape, b.shape) == (given[0][0].shape, given[0][1].shape)
    exact = exact_mean(given)
    # the error, not the matrix, is compared: of nearly equal singular values either may be kept
    lost = np.linalg.svd(exact, compute_uv=False)[rank:]
    error = np.linalg.norm(exact - product((a, b)))
    assert error == pytest.approx(np.linalg.norm(lost), abs=1e-4)


@pytest.mark.parametrize("holders", [1, 2, 3])
def test_where_the_rank_suffices_the_mean_is_exact(holders: int) -> None:
    """A mean of k products of rank one has rank k at the most: with factors of rank 3 nothing is cut."""
    ones = factors(holders, 2, rows=8, columns=6, rank=1)
    given = [
        (torch.nn.functional.pad(a, (0, 2)), torch.nn.functional.pad(b, (0, 0, 0, 2)), count) for a, b, count in ones
    ]
    np.testing.assert_allclose(product(mean_product(given)), exact_mean(ones), atol=1e-5)


def test_the_mean_of_factors_is_another_matrix() -> None:
    """The fault that the product is there for: mean(A) mean(B) is not mean(AB)."""
    a, b = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0, 0.0]])
    given = [(a, b, 1), (-a, -b, 1)]  # the same update twice, written with opposite signs
    apart = mean_of(holders_of(given), "factors")[ADAPTED]
    assert float((apart["q_w_A"] @ apart["q_w_B"]).abs().max()) == 0.0
    together = mean_of(holders_of(given), "product")[ADAPTED]
    torch.testing.assert_close(together["q_w_A"] @ together["q_w_B"], a @ b)


def test_a_start_whose_b_is_zero_keeps_an_a_that_can_learn() -> None:
    given = [(a, torch.zeros_like(b), count) for a, b, count in factors(3, 2, rows=6, columns=4, rank=3)]
    a, b = mean_product(given)
    assert float(b.abs().max()) == 0.0
    length = float(torch.stack([each.norm(dim=-2).mean() for each, *_ in given]).mean())
    torch.testing.assert_close(a.norm(dim=-2), torch.full((2, 3), length))
    gram = a.transpose(-1, -2) @ a
    torch.testing.assert_close(gram, torch.eye(3).expand(2, 3, 3) * length**2, atol=1e-4, rtol=1e-4)


def test_all_zero_factors_give_finite_ones() -> None:
    a, b = mean_product([(torch.zeros(4, 2), torch.zeros(2, 3), 5)])
    assert bool(torch.isfinite(a).all())
    assert bool((b == 0).all())


@given(st.integers(0, 10_000))
def test_the_signs_depend_on_the_mean_alone(seed: int) -> None:
    """Holders that write the same products with other factors get the same factors of the mean, to rounding."""
    given = factors(3, 2, rows=6, columns=5, rank=2, seed=seed)
    turn = torch.linalg.qr(torch.randn(2, 2, generator=generator("turn", seed)))[0]
    turned = [(a @ turn, turn.T @ b, count) for a, b, count in given]
    gaps = np.linalg.svd(exact_mean(given), compute_uv=False)
    a, b = mean_product(given)
    peaks = a.gather(-2, a.abs().argmax(-2, keepdim=True))
    assert bool((peaks > 0).all())
    if float(np.min(gaps[:, :2] / gaps[:, 1:3])) < 1.1 or _tied(a):
        return  # nearly equal singular values, or entries of a column: which is the greater is a matter of rounding
    other_a, other_b = mean_product(turned)
    ratio = float((a.norm(dim=-2) / other_a.norm(dim=-2)).mean())
    torch.testing.assert_close(a, other_a * ratio, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(b, other_b / ratio, atol=2e-3, rtol=2e-3)


def _tied(a: Tensor) -> bool:
    """Tell whether in some column the two entries of greatest size are about equal."""
    first, second = a.abs().topk(2, dim=-2).values.unbind(-2)
    return bool((second > 0.99 * first).any())


def test_the_same_factors_give_the_same_bits() -> None:
    first, second = (mean_product(factors(3, 2, rows=6, columns=5, rank=2)) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_everything_but_pairs_of_factors_is_averaged_as_ever() -> None:
    bias = torch.tensor([1.0, 2.0])
    held = holders_of(factors(2, rows=4, columns=4, rank=2), bias=bias, lonely_A=torch.ones(3), lonely_B_extra=bias)
    apart, together = mean_of(held, "factors"), mean_of(held, "product")
    assert apart.equal(weighted_mean(held))
    changed = {name for name in apart[ADAPTED] if not torch.equal(apart[ADAPTED][name], together[ADAPTED][name])}
    assert changed == {"q_w_A", "q_w_B"}


@pytest.mark.parametrize("travelling", ["q_w_A", "q_w_B"])
def test_a_factor_whose_partner_stays_at_home_is_averaged_as_a_tensor(travelling: str) -> None:
    held = [
        (state.select(lambda _, name: name == travelling), counts)
        for state, counts in holders_of(factors(3, rows=5, columns=4, rank=2))
    ]
    mean = mean_of(held, "product")
    assert list(mean[ADAPTED]) == [travelling]
    assert mean.equal(weighted_mean(held))


def test_holders_without_examples_and_components_of_others_do_not_count() -> None:
    given = factors(3, rows=5, columns=4, rank=2)
    held = holders_of(given)
    silent = [*held[:2], (held[2][0], {ADAPTED: 0}), (ComponentState({OTHER: {"w": torch.ones(1)}}), {OTHER: 4})]
    mean = mean_of(silent, "product")
    np.testing.assert_allclose(
        product((mean[ADAPTED]["q_w_A"], mean[ADAPTED]["q_w_B"])), truncated(exact_mean(given[:2]), 2), atol=1e-5
    )
    assert mean[OTHER]["w"].tolist() == [1.0]
    assert len(mean_of([(held[0][0], {ADAPTED: 0})], "product")) == 0


def lora_updates(counts: Sequence[int]) -> tuple[ComponentState, dict[str, Update]]:
    """Return a network's start, and what clients with this many examples of each component made of it."""
    start = build_network((DIGITS, MOOD), adaptation="lora", layers=2).initial_state()
    updates = {
        f"client{i}": Update(jittered(start, seed=i), dict.fromkeys(start, count)) for i, count in enumerate(counts)
    }
    return start, updates


def test_a_methods_parameter_chooses_and_every_pair_of_the_network_is_found() -> None:
    start, updates = lora_updates((3, 1, 2))
    server = ServerState(start)
    factored, multiplied = (
        make({"name": "fedavg", "lora_mean": kind}).aggregate(server, updates).components
        for kind in ("factors", "product")
    )
    assert factored.equal(weighted_mean([(update.components, update.counts) for update in updates.values()]))
    differing = {
        (key, name) for key, name, tensor in multiplied.tensors() if not torch.equal(tensor, factored[key][name])
    }
    pairs = {(key, name) for key, name, _ in start.tensors() if name.endswith(("_A", "_B"))}
    assert differing == pairs
    assert {key.kind for key, _ in pairs} == {"attention", "expert"}
    for key, stem in {(key, name[:-2]) for key, name in pairs}:
        given = [
            (u.components[key][f"{stem}_A"], u.components[key][f"{stem}_B"], u.counts[key]) for u in updates.values()
        ]
        exact = exact_mean(given)
        made = product((multiplied[key][f"{stem}_A"], multiplied[key][f"{stem}_B"]))
        for layer in range(2):
            np.testing.assert_allclose(made[layer], truncated(exact[layer], 2), atol=1e-5)


def test_it_is_what_peft_merges_of_adapters_where_the_rank_suffices() -> None:
    """PEFT's ``svd`` combination of adapters: the weighted sum of their products, cut to a rank by SVD."""
    peft = pytest.importorskip("peft")
    model = torch.nn.Sequential(torch.nn.Linear(6, 5, bias=False))
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["0"])
    wrapped = peft.get_peft_model(model, config, adapter_name="c0")
    wrapped.add_adapter("c1", config)
    given = factors(2, rows=6, columns=5, rank=2)
    layer = wrapped.base_model.model[0]
    with torch.no_grad():
        for i, (a, b, _) in enumerate(given):
            layer.lora_A[f"c{i}"].weight.copy_(a.T)  # theirs is (rank, in)
            layer.lora_B[f"c{i}"].weight.copy_(b.T)
    total = sum(count for *_, count in given)
    weights = [count / total for *_, count in given]
    wrapped.add_weighted_adapter(["c0", "c1"], weights, "mean", combination_type="svd", svd_rank=2)
    theirs = (layer.lora_B["mean"].weight @ layer.lora_A["mean"].weight).T.detach().numpy()
    np.testing.assert_allclose(product(mean_product(given)), theirs, atol=1e-5)
