"""pi, rho and phi against the enumeration of all sets in exact fractions, their bounds, weights, and the product's dealing."""

from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations
from math import comb, e, exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.federation import sampling as dealing
from fedtap.theory.counts import WeightedSampling, weighted_sampling
from fedtap.theory.sampling import drawn_for, exact_sampling, sampling


def triples(most: int) -> list[tuple[int, int, int]]:
    return [(N, n, m) for N in range(1, most + 1) for n in range(1, N + 1) for m in range(1, N + 1)]


@pytest.mark.parametrize(("N", "n", "m"), triples(7))
def test_closed_forms_are_what_all_sets_give(N: int, n: int, m: int) -> None:
    values = [Fraction((7 * i * i + 3 * i) % 11 - 5) for i in range(n)]
    mean = sum(values, Fraction(0)) / n
    spread = sum(((v - mean) ** 2 for v in values), Fraction(0)) / n
    drawn = [[i for i in chosen if i < n] for chosen in combinations(range(N), m)]
    hit = [holders for holders in drawn if holders]
    means = [sum((values[i] for i in holders), Fraction(0)) / len(holders) for holders in hit]
    pi, rho, phi = exact_sampling(N, n, m)
    assert pi == Fraction(len(hit), len(drawn))
    assert rho == sum((Fraction(1, len(holders)) for holders in hit), Fraction(0)) / len(hit)
    assert sum(means, Fraction(0)) / len(hit) == mean  # Lemma 1: the mean is unbiased
    assert sum(((v - mean) ** 2 for v in means), Fraction(0)) / len(hit) == phi * spread
    found = sampling(N, n, m)
    np.testing.assert_allclose([found.pi, found.rho, found.phi], [float(pi), float(rho), float(phi)], atol=1e-12)


@given(st.integers(1, 90), st.data())
def test_bounds_of_lemma_1(N: int, data: st.DataObject) -> None:
    n, m = data.draw(st.integers(1, N)), data.draw(st.integers(1, N))
    pi, rho, phi = exact_sampling(N, n, m)
    q = Fraction(n, N)
    assert 0 <= phi <= rho <= 1
    assert 1 - (1 - q) ** m <= pi <= min(Fraction(1), m * q)
    assert q <= pi
    assert pi / (m * q) <= rho <= min(Fraction(1), 2 / pi * Fraction(N + 1, (n + 1) * (m + 1)))
    found = sampling(N, n, m)
    np.testing.assert_allclose(
        [found.pi, found.rho, found.phi], [float(pi), float(rho), float(phi)], rtol=1e-9, atol=1e-12
    )


@given(st.integers(1, 40), st.integers(1, 8), st.data())
def test_the_price_of_balanced_pairs_is_linear(K: int, n: int, data: st.DataObject) -> None:
    """Corollary 1: K / m <= rho / pi <= 2 / (1 - 1/e)^2 K / m, which is less than 5.01 K / m."""
    m = data.draw(st.integers(1, min(n * K, 40)))
    found = sampling(n * K, n, m)
    limit = 2 / (1 - 1 / e) ** 2
    assert limit < 5.01
    assert 1 - 1e-12 <= found.price / K <= limit
    assert 1 - exp(-m / K) <= found.pi * (1 + 1e-12)


@given(st.integers(1, 40), st.integers(1, 12), st.data())
def test_equal_updates_leave_lost_averaging(K: int, n: int, data: st.DataObject) -> None:
    """Corollary 2c: at most m-fold in noise, m (n - 1) / (n - m)-fold in a pair's own disagreement, which is often more."""
    m = data.draw(st.integers(1, n))
    one, found = sampling(n, n, m), sampling(n * K, n, m)
    assert one.rho == pytest.approx(1 / m)
    assert found.rho <= m * one.rho * (1 + 1e-12)
    if m < n:
        assert one.phi == pytest.approx((n - m) / (m * (n - 1)))
        assert found.phi <= m * (n - 1) / (n - m) * one.phi * (1 + 1e-9)
    else:
        assert one.phi == pytest.approx(0, abs=1e-12)


def test_disagreement_may_rise_more_than_m_fold() -> None:
    """Three clients with the gradients -1, 0 and 1, two drawn: 0.25 of their variance is left alone, 0.8125 with a pair more."""
    assert sampling(6, 3, 2).phi / sampling(3, 3, 2).phi == pytest.approx(3.25)
    # and what coverage costs, without noise, is at most 1.58 up to K = m
    for m in range(1, 30):
        assert all(1 / sampling(n * m, n, m).pi <= 1 / (1 - 1 / e) for n in range(m, m + 30))


def test_one_weight_a_client_is_not_enough_where_some_stay_away() -> None:
    """Weights 100, 400, 100, two of three drawn: the shares of the first two differ with who else holds a component."""
    two = weighted_sampling([100, 400], clients=3, drawn=2).u
    three = weighted_sampling([100, 400, 100], clients=3, drawn=2).u
    assert two[0] / two[1] == pytest.approx(2 / 3)
    assert three[0] / three[1] == pytest.approx(0.4375)
    all_there = weighted_sampling([100, 400, 100], clients=3, drawn=3).u
    assert all_there[0] / all_there[1] == pytest.approx(0.25)


def test_many_clients_are_no_trouble() -> None:
    """With a hundred thousand clients no factorial fits a float; a few draws are then as good as independent."""
    found = sampling(100_000, 50_000, 10)
    assert found.pi == pytest.approx(1 - 0.5**10, rel=1e-3)
    assert sampling(100_000, 1, 1_000).pi == pytest.approx(0.01)
    assert sampling(100_000, 100_000, 1_000).rho == pytest.approx(1e-3)


@pytest.mark.parametrize(("N", "n", "m"), [(3, 0, 1), (3, 4, 1), (3, 1, 0), (3, 1, 4)])
def test_numbers_that_do_not_go_together_are_refused(N: int, n: int, m: int) -> None:
    for function in (sampling, exact_sampling):
        with pytest.raises(ValueError, match="do not go with"):
            function(N, n, m)


def test_the_fewest_clients_a_round() -> None:
    for N, n, beside in triples(9):
        for share in (0.3, 0.5, 0.9, 1.0):
            least = drawn_for(N, n, beside=beside, share=share)
            enough = [sampling(N, n, m).pi >= share * sampling(N, beside, m).pi - 1e-9 for m in range(1, N + 1)]
            assert least == 1 + enough.index(True)


# --- counts as weights ---------------------------------------------------------------------------------------------------


def by_enumeration(
    weights: list[int], clients: int, drawn: int
) -> tuple[list[Fraction], Fraction, Fraction, list[list[Fraction]]]:
    n = len(weights)
    hit = [A for chosen in combinations(range(clients), drawn) if (A := [i for i in chosen if i < n])]
    lam = [[Fraction(weights[i], sum(weights[j] for j in A)) if i in A else Fraction(0) for i in range(n)] for A in hit]
    u = [sum((row[i] for row in lam), Fraction(0)) / len(hit) for i in range(n)]
    rho = sum((v * v for row in lam for v in row), Fraction(0)) / len(hit)
    covariance = [
        [sum((row[i] * row[j] for row in lam), Fraction(0)) / len(hit) - u[i] * u[j] for j in range(n)]
        for i in range(n)
    ]
    return u, Fraction(len(hit), comb(clients, drawn)), rho, covariance


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 3), st.data())
def test_weights_are_what_all_sets_give(weights: list[int], others: int, data: st.DataObject) -> None:
    clients = len(weights) + others
    drawn = data.draw(st.integers(1, clients))
    u, pi, rho, covariance = by_enumeration(weights, clients, drawn)
    found = weighted_sampling(weights, clients=clients, drawn=drawn)
    assert found.exact
    np.testing.assert_allclose(found.u, [float(v) for v in u], atol=1e-12)
    np.testing.assert_allclose([found.pi, found.rho], [float(pi), float(rho)], atol=1e-12)
    scale = np.sqrt(np.array([float(v) for v in u]))
    matrix = np.array([[float(v) for v in row] for row in covariance]) / np.outer(scale, scale)
    assert found.phi == pytest.approx(max(0.0, float(np.linalg.eigvalsh(matrix)[-1])), abs=1e-9)
    assert found.phi <= 1


def test_equal_weights_are_the_closed_form() -> None:
    for N, n, m in triples(8):
        found, plain = weighted_sampling([3.0] * n, clients=N, drawn=m), sampling(N, n, m)
        np.testing.assert_allclose(
            [found.pi, found.rho, found.phi, *found.u], [plain.pi, plain.rho, plain.phi, *[1 / n] * n], atol=1e-12
        )


def test_counts_do_nothing_alone_and_everything_together() -> None:
    weights = [1, 2, 7]
    assert weighted_sampling(weights, clients=5, drawn=1).u == pytest.approx([1 / 3] * 3)
    assert weighted_sampling(weights, clients=5, drawn=5).u == pytest.approx([0.1, 0.2, 0.7])


def test_too_many_cases_are_drawn_and_said_to_be() -> None:
    weights = [1.0 + 0.1 * i for i in range(20)]
    found = weighted_sampling(weights, clients=25, drawn=6)
    assert not found.exact
    assert found.pi == pytest.approx(sampling(25, 20, 6).pi)
    assert sum(found.u) == pytest.approx(1)
    assert found.u == weighted_sampling(weights, clients=25, drawn=6).u  # the same each time
    alike = sampling(25, 20, 6)
    assert found.rho == pytest.approx(alike.rho, rel=0.2)


def test_the_floor_is_nothing_where_weights_are_the_objectives() -> None:
    found = weighted_sampling([1, 3], clients=2, drawn=2)
    assert found.floor([1, 3]) == pytest.approx(0)
    assert found.floor([1, 1]) == pytest.approx((2 * 0.25**2 / 0.5) ** 0.5)
    assert WeightedSampling((1.0,), 1.0, 1.0, 0.0).floor([5]) == 0


@pytest.mark.parametrize("weights", [[], [0.0], [1.0, -1.0], [1.0] * 4])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"weights|do not go with"):
        weighted_sampling(weights, clients=3, drawn=1)


# --- the product deals clients like cards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("per_round", [1, 2, 3])
def test_dealt_rounds_are_each_uniform(monkeypatch: pytest.MonkeyPatch, per_round: int) -> None:
    """Over all orders of the cards every set is as frequent as every other, in every round: pi and rho hold for dealing too."""
    orders = list(permutations(range(4)))
    found = [Counter[tuple[str, ...]]() for _ in range(2)]
    for first in orders:
        for second in orders:
            dealt = {0: first, 1: second}

            class Dealer:
                def __init__(self, deal: int, dealt: dict[int, tuple[int, ...]] = dealt) -> None:
                    self._order = dealt[deal]

                def permutation(self, size: int) -> tuple[int, ...]:
                    return self._order

            monkeypatch.setattr(dealing, "numpy_generator", lambda seed, what, deal, Dealer=Dealer: Dealer(deal))
            for number, chosen in enumerate(dealing.schedule("abcd", per_round=per_round, rounds=2, seed=0)):
                found[number][tuple(chosen)] += 1
    for counted in found:
        assert len(counted) == comb(4, per_round)
        assert len(set(counted.values())) == 1
