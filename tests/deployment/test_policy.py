"""What a node asks of a run, and its account of private steps; for a whole run see e2e/test_node_policy.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedtap.deployment.node import NodeSettings, read_node, write_node
from fedtap.deployment.policy import Ledger, Policy, Spent
from fedtap.runtime.errors import UserError
from fedtap.scenario.safety import NoiseSettings, PrivacySettings, SecureSettings
from tiny_federation import called, write_scenario


def entry(number: int = 1, *, noise: float = 1.0, rate: float = 1.0, steps: int = 1, run: str = "a") -> Spent:
    return Spent(run=run, round=number, noise=noise, rate=rate, steps=steps)


LOCAL = PrivacySettings(local=NoiseSettings(noise=1.0))


@pytest.mark.parametrize(
    ("policy", "privacy", "why"),
    [
        ({}, PrivacySettings(), None),
        ({"results": False}, PrivacySettings(), None),
        ({"noise": 1.0}, LOCAL, None),
        ({"noise": 1.0}, PrivacySettings(), "set privacy.local at the server"),
        ({"epsilon": 8.0}, PrivacySettings(), "set privacy.local at the server"),
        ({"noise": 1.5}, LOCAL, "noise of at least 1.5, and the run has 1"),
        ({"noise": 0.5}, LOCAL.model_copy(update={"noise_source": "seeded"}), "privacy.noise_source=secret"),
        ({"secure": 3}, PrivacySettings(), "secure aggregation alone, of 3 holders"),
        ({"secure": 3}, PrivacySettings(secure=SecureSettings()), "privacy.secure.few=withhold"),
        ({"secure": 4}, PrivacySettings(secure=SecureSettings(few="withhold")), "privacy.secure.holders=4"),
        ({"secure": 3}, PrivacySettings(secure=SecureSettings(few="withhold")), None),
        ({"blur_counts": 10}, PrivacySettings(), "in multiples of 10"),
        ({"blur_counts": 10}, PrivacySettings(blur_counts=9), "in multiples of 10"),
        ({"blur_counts": 10}, PrivacySettings(blur_counts=25), None),
    ],
)
def test_a_run_that_does_not_meet_a_condition_is_named(
    policy: dict[str, Any], privacy: PrivacySettings, why: str | None
) -> None:
    said = Policy.model_validate(policy).complaint(privacy)
    if why is None:
        assert said is None
    else:
        assert said is not None
        assert why in said


@pytest.mark.parametrize("wrong", [{"noise": 0}, {"epsilon": -1}, {"epsilon": math.inf}, {"delta": 1}, {"nois": 1}])
def test_conditions_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(wrong)


def test_a_slip_in_node_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("client: a\npolicy: {epsilom: 3}\n")
    with pytest.raises(UserError, match=r"unknown key 'policy\.epsilom'; did you mean 'epsilon'"):
        read_node(tmp_path)


def test_conditions_are_written_where_there_are_some_and_read_again(tmp_path: Path) -> None:
    asked = Policy(epsilon=3.0, results=False)
    write_node(tmp_path / "a", NodeSettings(client="a", policy=asked))
    assert read_node(tmp_path / "a").policy == asked
    write_node(tmp_path / "b", NodeSettings(client="b"))
    assert "\npolicy:" not in (tmp_path / "b" / "node.yaml").read_text()


def test_one_gaussian_step_costs_what_its_formula_says(tmp_path: Path) -> None:
    """Without sampling the Rényi divergence of order a is a / (2 z^2), and epsilon the least of the orders' bounds."""
    pytest.importorskip("opacus")
    ledger, delta = Ledger(tmp_path), 1e-5
    ledger.charge(entry(noise=2.0, steps=3), Policy())
    ledger.charge(entry(noise=1.0, steps=1, run="b"), Policy())
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(12, 64))
    divergence = 3 / (2 * 2.0**2) + 1 / 2
    bounds = (a * divergence + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in orders)
    assert ledger.epsilon(delta) == pytest.approx(min(bounds), rel=1e-9)


def test_a_budget_holds_over_all_runs_and_what_is_beyond_it_is_not_noted(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    policy = Policy(epsilon=8.0)
    allowed = 0
    while Ledger(tmp_path).epsilon(1e-5, [entry()]) <= 8.0:
        allowed += 1
        Ledger(tmp_path).charge(entry(allowed, run=f"run-{allowed}"), policy)  # each time another run
    with pytest.raises(UserError, match="the node's budget is spent"):
        Ledger(tmp_path).charge(entry(allowed + 1), policy)
    ledger = Ledger(tmp_path)
    assert [each.round for each in ledger.entries()] == list(range(1, allowed + 1))
    assert allowed > 1


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=6))
def test_the_account_is_what_was_charged_last_settled(steps: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        for number, (asked, taken) in enumerate(steps):
            ledger.charge(entry(number, steps=asked), Policy())
            ledger.settle(taken)
        assert [each.steps for each in Ledger(Path(folder)).entries()] == [taken for _, taken in steps]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"steps": 3}', '{"steps": [{"run": "a"}]}', '{"steps": [{"noise": NaN}]}']
)
def test_a_damaged_account_stops_the_node_and_stays(text: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.path.write_text(text)
    with pytest.raises(UserError, match="restore it from a copy"):
        ledger.charge(entry(), Policy())
    assert ledger.path.read_text() == text


def test_an_account_is_plain_json(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.charge(entry(3, noise=1.5, rate=0.25, steps=7), Policy())
    found = json.loads(ledger.path.read_text())
    assert found["steps"] == [{"run": "a", "round": 3, "noise": 1.5, "rate": 0.25, "steps": 7}]


def test_a_check_says_what_is_not_met_and_what_is_spent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("opacus")
    (tmp_path / "federation").mkdir()
    scenario = write_scenario(tmp_path / "federation")
    pictures = str(scenario.parent / "data/pictures")
    data = {"shade": {"path": pictures}, "redraw": {"path": pictures}}
    node = tmp_path / "node"
    node.mkdir()
    (node / "node.yaml").write_text(json.dumps({"client": "painter", "data": data, "policy": {"epsilon": 9.0}}))
    check = ("node", "check", node, "--scenario", scenario)
    assert called(*check) == 2
    assert "would not take part: it asks for noise" in capsys.readouterr().err
    Ledger(node / "state").charge(entry(), Policy())
    assert called(*check, "--set", "privacy.local.noise=1") == 0
    assert "epsilon 4.73 of 9 at delta 1e-05" in " ".join(capsys.readouterr().out.split())
