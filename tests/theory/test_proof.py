"""Every inequality of the proof on random federations, in exact expectation; and wrong ones, which the checks must see.

``FEDTAP_THEORY_FEDERATIONS`` says how many federations the campaign goes through; about 120 checks each, so that 1,000 make more
than 100,000. The default is small.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedtap.theory.bound import bound, one_step_bound, weighted_bound
from fedtap.theory.sampling import Sampling, sampling
from fedtap.theory.unequal import coverage_chances
from theory.quadratics import draw
from theory.steps import (
    Checks,
    Claims,
    check_round,
    check_sampling,
    check_theorem,
    equal_setting,
    weighted_setting,
)

FEDERATIONS = int(os.environ.get("FEDTAP_THEORY_FEDERATIONS", "60"))
TRUE = Claims()


def campaign(claims: Claims, federations: int, seed: int, *, until_broken: bool = False) -> Checks:
    """Check all claims on random federations, every other of which has an objective with a least value and is trained on."""
    rng = np.random.default_rng(seed)
    checks = Checks()
    for number in range(federations):
        federation = draw(rng, bounded=number % 2 == 0)
        total = federation.counts.sum(1)
        p = [np.full(federation.clients, 1 / federation.clients), total / total.sum()][rng.integers(2)]
        for setting in (equal_setting(federation, claims), weighted_setting(federation, p)):
            check_sampling(setting, checks)
            gamma = setting.largest * (1.0 if rng.random() < 0.4 else 10 ** rng.uniform(-2, 0))
            point = rng.normal(size=federation.size) * 10 ** rng.uniform(-1, 1)
            check_round(setting, claims, point, gamma, checks)
            lowest = np.linalg.eigvalsh(np.einsum("i,iab->ab", setting.p, federation.hessians))[0]
            if number % 2 == 0 and lowest > 1e-4 * federation.smoothness:
                rounds = int(rng.choice([1, 5, 30, 100]))
                check_theorem(setting, claims, point, gamma, rounds, checks)
                if setting.equal and federation.steps == 1:  # Theorem 1' allows longer steps
                    longer = float(rng.uniform(0.05, 1)) / federation.smoothness
                    check_theorem(setting, claims, point, longer, rounds, checks)
        if until_broken and checks.violations:
            return checks
    return checks


def test_no_inequality_is_violated() -> None:
    checks = campaign(TRUE, FEDERATIONS, seed=0)
    lines = [f"{name:24s}{n:8d} checks, nearest {checks.nearest[name]:.3f}" for name, n in sorted(checks.done.items())]
    print(*lines, f"{checks.done.total()} checks, {checks.violations} violations", sep="\n")
    assert checks.done.total() >= 100 * FEDERATIONS
    assert {name: n for name, n in checks.broken.items() if n} == {}
    expected = {f"{kind}: S{step}" for kind in ("equal", "counts") for step in ("1", "2", "3", "4", "5", "6", "7")}
    assert expected | {"Theorem 1", "Theorem 1'", "Theorem 2", "counts: floor"} <= checks.done.keys()
    assert (
        checks.nearest["equal: S6a"] > 0.99
    )  # somewhere left meets right, so that the left side is not simply nothing


def test_theorem_2_holds_where_clients_have_chances_of_their_own() -> None:
    """Sampling by coverage: Lemma 1 does not hold there, and the proof of Theorem 2 does not use it."""
    rng, checks, done = np.random.default_rng(5), Checks(), 0
    while done < FEDERATIONS // 3:
        federation = draw(rng, bounded=True)
        if federation.drawn == federation.clients:
            continue
        done += 1
        held = {str(i): [str(k) for k in np.flatnonzero(row)] for i, row in enumerate(federation.held)}
        coins = np.array(list(coverage_chances(held, federation.drawn).values()))
        assert coins.sum() == pytest.approx(federation.drawn)
        if done % 2:
            coins = rng.uniform(0.05, 1, federation.clients)  # any chances will do
        setting = weighted_setting(
            replace(federation, coins=coins), np.full(federation.clients, 1 / federation.clients)
        )
        check_sampling(setting, checks)
        point = rng.normal(size=federation.size)
        check_round(setting, TRUE, point, setting.largest * float(rng.uniform(0.1, 1)), checks)
        check_theorem(setting, TRUE, point, setting.largest, 20, checks)
    assert {name: n for name, n in checks.broken.items() if n} == {}
    assert checks.done["Theorem 2"] == done


def off(**changes: Callable[[Sampling], float]) -> Callable[[int, int, int], Sampling]:
    """Return :func:`sampling` with some of its quantities wrong."""

    def wrong(clients: int, holders: int, drawn: int) -> Sampling:
        right = sampling(clients, holders, drawn)
        return replace(right, **{name: change(right) for name, change in changes.items()})

    return wrong


def scaled(terms: Callable[..., Any], **factors: float) -> Callable[..., Any]:
    """Return a bound with some of its terms multiplied."""

    def wrong(*given: Any, **more: Any) -> Any:
        right = terms(*given, **more)
        return replace(right, **{name: factor * getattr(right, name) for name, factor in factors.items()})

    return wrong


PLANTED: dict[str, dict[str, Any]] = {
    "pi of a draw with replacement": {"sampling": off(pi=lambda s: 1 - (1 - s.share) ** s.drawn)},
    "rho = 1 / m": {"sampling": off(rho=lambda s: 1 / s.drawn)},
    "phi = rho": {"sampling": off(phi=lambda s: s.rho)},
    "S1 with the square of the share": {"s1_share": lambda q: q**2},
    "S2 without pi": {"s2_chance": lambda pi: 1.0},
    "S3 with rho in the place of phi": {"s3_spread": lambda s: s.rho},
    "S3 with phi in the place of rho": {"s3_noise": lambda s: s.phi},
    "S3 without the noise of local paths": {"s3_noise": lambda s: 0.0},
    "S4a without the factor 2 and the bias": {"s4a": (1.0, 0.0)},
    "S4b without the paths' own spread": {"s4b": (1.0, 0.0)},
    "S4d a third less": {"s4d": 0.67},
    "S4 without the drift": {"s4": (1.0, 1.0, 0.0)},
    "S5 a quarter": {"s5": 0.25},
    "S6a half": {"s6a": 0.5},
    "S6b a third": {"s6b": (0.3, 1.0)},
    "S6c without the dissimilarity": {"s6c": 0.0},
    "S6 a quarter": {"s6": (0.25, 1.0)},
    "S7 with a decrease of 1.2": {"s7": (1.2, 1.0, 6 / 7, 8 / 7)},
    "S7 without the sampling variance": {"s7": (0.9, 0.0, 6 / 7, 8 / 7)},
    "S7 with counts, without the floor": {"s7_weights": (0.9, 0.5, 10 / 7, 40 / 21, 0.0)},
    "the floor a fifth": {"floor": 0.2},
    "Theorem 1 with a third of the first term": {"theorem": scaled(bound, optimisation=0.35)},
    "Theorem 1 without the sampling variance": {"theorem": scaled(bound, sampling=0.0)},
    "Theorem 1' with a quarter of the first term": {"sharp": scaled(one_step_bound, optimisation=0.25)},
    "Theorem 1' with a quarter of the variance": {"sharp": scaled(one_step_bound, sampling=0.25)},
    "Theorem 2 without the floor": {"weighted": scaled(weighted_bound, weights=0.0, optimisation=0.25, sampling=0.25)},
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_error_is_caught(fault: str) -> None:
    assert campaign(replace(TRUE, **PLANTED[fault]), 300, seed=11, until_broken=True).violations
