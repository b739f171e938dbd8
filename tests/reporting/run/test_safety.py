"""What the report says of robust means."""

from __future__ import annotations

from typing import Any

from fedtap.reporting.run.safety import robust_section, secure_section


def event(rule: str, components: int, few: int, unproven: int) -> dict[str, Any]:
    return {
        "event": "robust_mean",
        "rule": rule,
        "components": components,
        "too_few_holders": few,
        "unproven": unproven,
    }


def test_rounds_are_added_up_and_krums_proof_is_krums_alone() -> None:
    page = str(robust_section([event("krum", 70, 30, 20), event("krum", 71, 31, 21)]))
    for number in ("141", "61", "41"):
        assert f">{number}<" in page
    assert "Krum" in page
    page = str(robust_section([event("trimmed_mean", 5, 6, 0)]))
    assert "trimmed mean" in page
    assert "Krum" not in page


def test_without_a_robust_mean_nothing_is_said() -> None:
    assert robust_section([{"event": "round_finished"}]) is None


def test_what_the_server_saw_of_masked_components_is_added_up() -> None:
    told = {"event": "secure", "summed": 20, "not_restored": 1, "too_few_holders": 7, "few": "withhold"}
    page = str(secure_section([told, {**told, "summed": 22}]))
    for number in ("42", "2", "14"):
        assert f">{number}<" in page
    assert "kept at the clients" in page
    assert "sent as they are" in str(secure_section([{**told, "few": "send"}]))
    assert secure_section([{"event": "update"}]) is None
