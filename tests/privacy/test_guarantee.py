"""What a run's noise is worth, from its events, and that a whole run says so."""

import json
from pathlib import Path
from typing import Any

import pytest

import fedtap
from fedtap.algorithms.registry import make
from fedtap.experiment.requirements import check_privacy
from fedtap.privacy.accounting import epsilon
from fedtap.privacy.guarantee import guarantee
from fedtap.runtime.errors import UserError
from tiny import DIGITS, MOOD, scenario_of
from tiny_federation import write_scenario

TAP = make({}, "tap")
CLIENTS = {"one": (DIGITS,), "two": (DIGITS, MOOD)}


def events() -> list[dict[str, Any]]:
    return [
        {"event": "update", "round": 1, "client": "one"},
        {"event": "private_steps", "round": 1, "client": "one", "steps": 4, "rate": 0.25},
        {"event": "update", "round": 2, "client": "one"},
        {"event": "private_steps", "round": 2, "client": "one", "steps": 4, "rate": 0.25},
        {"event": "rejected", "round": 2, "client": "two", "why": "late"},
        {"event": "rejected", "round": 2, "client": "one", "why": "a second reply to one request"},
        {"event": "rejected", "round": 5, "client": "two", "why": "after the rounds nothing is sent"},
        {"event": "update", "round": 3, "client": "three"},
        {"event": "unchanged", "round": 3, "replies": 1, "min_replies": 2},
        {"event": "personalised", "round": 3, "client": "two"},
    ]


def test_central_noise_is_spent_by_rounds_and_local_noise_by_steps() -> None:
    privacy = {"central": {"noise": 2}, "local": {"noise": 3}, "delta": 1e-6}
    found = guarantee(scenario_of(CLIENTS, privacy=privacy), events())
    assert found is not None
    assert found["central"]["epsilon"] == {
        "one": epsilon([(2.0, 1.0, 2)], 1e-6),
        "three": epsilon([(2.0, 1.0, 1)], 1e-6),
    }
    assert found["local"]["epsilon"] == {
        "one": epsilon([(3.0, 0.25, 8)], 1e-6),
        "two": epsilon([(3.0, 1.0, 4)], 1e-6),  # its reply was refused, but may have been seen
        "three": epsilon([(3.0, 1.0, 4)], 1e-6),  # too few replies came for a step, but its own was read
    }
    assert (found["delta"], found["central"]["unit"], found["local"]["unit"]) == (1e-6, "client", "example")
    assert guarantee(scenario_of(CLIENTS), events()) is None


def test_a_round_that_changed_nothing_is_spent_all_the_same() -> None:
    told = [
        {"event": "update", "round": 1, "client": "one"},
        {"event": "unchanged", "round": 1, "replies": 1, "min_replies": 2},
    ]
    found = guarantee(scenario_of(CLIENTS, privacy={"local": {"noise": 3}, "delta": 1e-6}), told)
    assert found is not None
    assert found["local"]["epsilon"] == {"one": epsilon([(3.0, 1.0, 4)], 1e-6)}


def test_noise_without_the_extra_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    check_privacy(scenario_of(CLIENTS, privacy={"blur_counts": 10}), TAP)
    monkeypatch.setattr("fedtap.privacy.accounting.find_spec", lambda name: None)
    check_privacy(scenario_of(CLIENTS), TAP)
    with pytest.raises(UserError, match=r"pip install .*\[privacy\]"):
        check_privacy(scenario_of(CLIENTS, privacy={"central": {}}), TAP)


def test_central_noise_and_a_defence_do_not_go_together() -> None:
    with pytest.raises(UserError, match=r"remove the section defence, or privacy\.central"):
        scenario_of(CLIENTS, privacy={"central": {}}, defence={"norm_bound": 1})


@pytest.mark.parametrize("kind", ["local", "central"])
def test_a_run_with_noise_says_what_it_is_worth_and_little_of_the_data(kind: str, tmp_path: Path) -> None:
    scenario = write_scenario(
        tmp_path, privacy={kind: {"clip": 1.0, "noise": 1.0}, "noise_source": "seeded", "blur_counts": 10}, rounds=2
    )
    results = fedtap.run(scenario, method="tap", out=tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    updates = [event for event in log if event["event"] == "update"]
    assert len(updates) == 4
    assert all(event["losses"] == event["personal_losses"] == {} for event in updates)
    assert all(event["examples"] % 10 == 0 for event in updates)
    assert not [event for event in log if event["event"] in ("decision", "rejected", "failed")]
    spent = results["privacy"][kind]["epsilon"]
    assert set(spent) == {event["client"] for event in updates}
    assert all(value > 0 for value in spent.values())
    assert json.loads((tmp_path / "run" / "results.json").read_text())["privacy"] == results["privacy"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Differential privacy" in page
    assert "who knows the seed" in page
    again = fedtap.run(scenario, method="tap", out=tmp_path / "again")
    assert again == results  # seeded
    if kind == "local":  # half of the two steps of a round train what is sent
        assert {event["steps"] for event in log if event["event"] == "private_steps"} == {1}


@pytest.mark.parametrize("method", ["disentafl", "disentafl_ft", "tap_best", "tap"])
@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"training": {"micro_batch": 2}}, "training.micro_batch"),
        ({"privacy": {"local": {"noise": 1.0}, "delta": 1e-5}}, "privacy.local"),
    ],
)
def test_latents_cannot_be_kept_apart_where_batches_are_cut(method: str, settings: dict[str, Any], place: str) -> None:
    scenario = scenario_of(CLIENTS, **settings)
    with pytest.raises(UserError) as refused:
        check_privacy(scenario, make({"name": method, "disentangle": 0.5}))
    said = str(refused.value)
    assert said.startswith(place)
    assert said.endswith(f"set method.disentangle=0, or leave {place} out")
    check_privacy(scenario, make({"name": method, "disentangle": 0}))
    check_privacy(scenario_of(CLIENTS), make({"name": method, "disentangle": 0.5}))
    check_privacy(scenario_of(CLIENTS, training={"micro_batch": 8}), make({"name": method, "disentangle": 0.5}))
