"""Whole runs with secure aggregation: what they end with is what runs without it end with, and again the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("Crypto")

import torch

import fedtap as library
from e2e.conftest import events, rows
from fedtap.federation.checkpoint import Checkpoint
from fedtap.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("no_report")
SECURE = ("privacy.secure.holders=2", "clients_per_round=3", "rounds=2")


@pytest.mark.parametrize("method", ["tap", "fedbn"])
def test_a_run_ends_as_it_ends_without_masks_and_always_with_the_same_bytes(
    method: str, scenario: Path, tmp_path: Path
) -> None:
    settings = {"plain": SECURE[1:], "masked": SECURE, "again": SECURE}
    for name, overrides in settings.items():
        library.run(scenario, method=method, out=tmp_path / name, overrides=overrides)
    # The masks are new in each run; of the sums nothing is left of them.
    assert (tmp_path / "masked" / "results.json").read_bytes() == (tmp_path / "again" / "results.json").read_bytes()
    plain, masked = rows(tmp_path / "plain"), rows(tmp_path / "masked")
    assert [{**row, "value": 0} for row in plain] == [{**row, "value": 0} for row in masked]
    notes = events(tmp_path / "masked", "secure")
    assert notes
    assert all(note["summed"] and not note["not_restored"] for note in notes)
    assert not events(tmp_path / "masked", "failed", "rejected")
    assert not list((tmp_path / "masked").rglob("secret-*"))  # forgotten
    costs = [json.loads((tmp_path / name / "cost.json").read_text()) for name in ("plain", "masked")]
    assert costs[1]["bytes_up"] > costs[0]["bytes_up"]


def test_after_one_round_the_federated_model_is_that_without_masks(scenario: Path, tmp_path: Path) -> None:
    """Later rounds start from what differs in the seventh digit, and training makes more of it."""
    states = []
    for name, overrides in (("plain", SECURE[1:]), ("masked", SECURE)):
        library.run(scenario, out=tmp_path / name, overrides=(*overrides, "rounds=1"))
        checkpoint = Checkpoint.load(tmp_path / name / "checkpoint" / "server.safetensors")
        assert checkpoint is not None
        states.append(checkpoint.state.components)
    gaps = states[0].zip(torch.sub, states[1])
    assert max(float(gap.abs().max()) for _, _, gap in gaps.tensors()) < 1e-6


def test_a_method_that_needs_single_updates_is_refused_before_anything_is_trained(
    scenario: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="method 'pfedme' needs single updates"):
        library.run(scenario, method="pfedme", out=tmp_path / "run", overrides=SECURE)
    assert not (tmp_path / "run" / "events.jsonl").exists()
