"""Chances by coverage against rules by hand, and what follows from them against all sets in exact fractions."""

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import prod, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.theory import counts as of_counts
from fedtap.theory.counts import weighted_sampling
from fedtap.theory.plan import federation_plan
from fedtap.theory.sampling import sampling
from fedtap.theory.unequal import coverage_chances, draw, heads, trained

COINS = st.lists(st.integers(1, 9).map(lambda n: n / 10), min_size=1, max_size=7)


def test_chances_go_by_the_rarest_component() -> None:
    """Holders: trunk 4, head 2, rare 1. The rarest of a has 4, of b and c 2, of d 1: 1/4 : 1/2 : 1/2 : 1."""
    held = {"a": ["trunk"], "b": ["trunk", "head"], "c": ["head", "trunk"], "d": ["trunk", "rare"]}
    assert coverage_chances(held, 1) == pytest.approx({"a": 1 / 9, "b": 2 / 9, "c": 2 / 9, "d": 4 / 9})
    assert coverage_chances(held, 3) == pytest.approx({"a": 0.4, "b": 0.8, "c": 0.8, "d": 1.0})  # d would have 4/3
    assert coverage_chances(held, 4) == dict.fromkeys(held, 1.0)
    assert coverage_chances({**held, "e": []}, 1)["e"] == pytest.approx(0.2 / 2.45)  # as if all five held its rarest


@given(st.lists(st.frozensets(st.sampled_from("abcdef")), min_size=1, max_size=9), st.data())
def test_chances_sum_to_the_clients_of_a_round(holdings: list[frozenset[str]], data: st.DataObject) -> None:
    drawn = data.draw(st.integers(1, len(holdings)))
    chances = coverage_chances({str(i): keys for i, keys in enumerate(holdings)}, drawn)
    assert list(chances) == [str(i) for i in range(len(holdings))]
    assert sum(chances.values()) == pytest.approx(drawn)
    assert all(0 < chance <= 1 for chance in chances.values())


@given(COINS)
def test_heads_are_those_of_all_outcomes(coins: list[float]) -> None:
    law = [0.0] * (len(coins) + 1)
    for number in range(len(coins) + 1):
        for up in combinations(range(len(coins)), number):
            law[number] += prod(p if i in up else 1 - p for i, p in enumerate(coins))
    np.testing.assert_allclose(heads(Counter(coins), len(coins)), law, atol=1e-12)
    np.testing.assert_allclose(heads(Counter(coins), 2), [*law, 0, 0][:3], atol=1e-12)
    np.testing.assert_allclose(heads(Counter([*coins, 1.0]), len(coins) + 1), [0, *law], atol=1e-12)


@given(st.integers(1, 5), st.integers(0, 4), st.data())
def test_shares_pi_and_rho_are_what_all_sets_give(mine: int, other: int, data: st.DataObject) -> None:
    clients = mine + other
    drawn = data.draw(st.integers(1, clients))
    coins = [Fraction(n, 7) for n in data.draw(st.lists(st.integers(1, 6), min_size=clients, max_size=clients))]
    weights = data.draw(st.lists(st.integers(1, 3), min_size=mine, max_size=mine))
    chance, rho, u = Fraction(0), Fraction(0), [Fraction(0)] * mine
    whole = Fraction(0)
    for chosen in combinations(range(clients), drawn):
        likely = prod((p if i in chosen else 1 - p for i, p in enumerate(coins)), start=Fraction(1))
        whole += likely
        total = sum(weights[i] for i in chosen if i < mine)
        if total:
            chance += likely
            for i in chosen:
                if i < mine:
                    u[i] += likely * Fraction(weights[i], total)
                    rho += likely * Fraction(weights[i], total) ** 2
    floats = [float(p) for p in coins]
    found = weighted_sampling(
        weights, clients=clients, drawn=drawn, chances=floats[:mine], others=Counter(floats[mine:])
    )
    assert found.pi == pytest.approx(float(chance / whole), abs=1e-12)
    assert found.rho == pytest.approx(float(rho / chance), abs=1e-12)
    assert found.u == pytest.approx([float(share / chance) for share in u], abs=1e-12)
    assert trained(Counter(floats[:mine]), Counter(floats[mine:]), drawn) == pytest.approx(found.pi, abs=1e-12)


def test_equal_chances_are_a_uniform_draw() -> None:
    plain = sampling(12, 4, 3)
    found = weighted_sampling([2.0] * 4, clients=12, drawn=3, chances=[0.25] * 4, others={0.25: 8})
    assert [found.pi, found.rho, found.phi] == pytest.approx([plain.pi, plain.rho, plain.phi])


def test_where_there_are_too_many_cases_sets_are_drawn_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    given_ = {"clients": 12, "drawn": 4, "chances": [0.2, 0.5, 0.3, 0.6], "others": {0.3: 8}}
    exact = weighted_sampling([1.0, 2.0, 3.0, 4.0], **given_)
    monkeypatch.setattr(of_counts, "MOST_CASES", 1)
    found = weighted_sampling([1.0, 2.0, 3.0, 4.0], **given_)
    assert exact.exact
    assert not found.exact
    assert found.pi == pytest.approx(exact.pi)  # exact even so
    assert found.u == pytest.approx(exact.u, abs=0.02)
    assert [found.rho, found.phi] == pytest.approx([exact.rho, exact.phi], abs=0.03)


def test_draws_have_the_design_s_probabilities() -> None:
    coins, number = [0.9, 0.6, 0.3, 0.2], 4000
    generator = np.random.default_rng(0)
    seen = Counter(tuple(draw(coins, 2, generator)) for _ in range(number))
    odds = {two: prod(coins[i] / (1 - coins[i]) for i in two) for two in combinations(range(4), 2)}
    for two, odd in odds.items():
        expected = odd / sum(odds.values())
        assert abs(seen[two] / number - expected) < 4 * sqrt(expected * (1 - expected) / number)


HOLDINGS = {
    **{f"c{i}": {"trunk": 10.0, "common": 10.0} for i in range(9)},
    "rare": {"trunk": 10.0, "head": 10.0},
}


def plan_by(how: str):  # type: ignore[no-untyped-def]
    return federation_plan(
        HOLDINGS,
        {"trunk": ["a", "b"], "common": ["a"], "head": ["b"]},
        examples=dict.fromkeys(HOLDINGS, 10.0),
        drawn=2,
        rounds=50,
        steps=5,
        pairs=2,
        sampling=how,
    )


def test_a_plan_by_coverage_feeds_the_rare_head_and_says_at_what_bias() -> None:
    """Scarcities 1/9 for nine clients and 1 for one, which is thus in every round; one of the nine joins it."""
    dealt, covered = (({p.component: p for p in plan_by(how).components}) for how in ("dealt", "coverage"))
    assert dealt["head"].sampling.pi == pytest.approx(0.2)
    assert covered["head"].sampling.pi == pytest.approx(1.0)
    assert covered["common"].sampling.pi == pytest.approx(1.0)
    assert covered["common"].sampling.rho == pytest.approx(1.0)  # one holder a round where dealing has nearly two
    # On the trunk the client that is always there weighs 1, the one of nine 9: u = 1/10 each, as in the objective.
    assert covered["trunk"].counts.u == pytest.approx([0.1] * 10)
    assert covered["trunk"].floor == pytest.approx(0, abs=1e-9)
    assert any("coverage" in line and "100%" in line for line in plan_by("dealt").advice())
    assert any(line.startswith("Drawn by coverage") for line in plan_by("coverage").advice())
    told = plan_by("coverage").to_json()
    assert told["sampling"] == "coverage"
    assert told["chances"]["rare"] == 1.0
    assert plan_by("dealt").to_json()["chances"] is None


def test_very_many_clients_are_no_matter() -> None:
    """Ten thousand with a head each and one trunk: what a uniform draw gives, 100 / 10,000."""
    assert trained({0.01: 1}, {0.01: 9_999}, 100) == pytest.approx(sampling(10_000, 1, 100).pi, rel=1e-6)
