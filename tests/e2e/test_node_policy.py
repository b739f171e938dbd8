"""A node's policy in a whole run over Flower's messages: it stays away from runs that do not meet them, and others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("flwr", reason="Flower needs Python 3.11")
pytest.importorskip("opacus")

from e2e.conftest import events, rows
from e2e.test_flower_loopback import apart, nodes_of
from fedtap.deployment import apps
from fedtap.deployment.policy import Ledger
from loopback import LoopbackGrid
from tiny_federation import CLIENTS

__all__ = ["apart"]
pytestmark = pytest.mark.usefixtures("no_report")
PICKY = "asker"


def served(apart: Path, tmp_path: Path, policy: dict[str, Any], *settings: str) -> Path:
    """Run the federation with one node that has policy; return the server's folder."""
    out = tmp_path / "run"
    config = {"out": str(out), "insecure": True, "patience": 0.0, "set": ";".join(settings)}
    nodes = nodes_of(apart, tmp_path / "nodes", config)
    file = tmp_path / "nodes" / PICKY / "node.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "policy": policy}))
    apps.serve(apart, LoopbackGrid(nodes), config, lambda event: None)
    return out


def test_a_node_stays_away_from_a_run_without_the_noise_that_it_asks_for(apart: Path, tmp_path: Path) -> None:
    out = served(apart, tmp_path, {"noise": 1.0})
    assert all("set privacy.local at the server" in event["why"] for event in events(out, "refused"))
    assert events(out, "refused")
    assert {event["client"] for event in events(out, "joined")} == set(CLIENTS) - {PICKY}
    assert {row["client"] for row in rows(out)} == set(CLIENTS) - {PICKY}


@pytest.mark.thorough  # tests/deployment/test_policy.py has the account by itself
def test_a_node_whose_budget_is_spent_trains_no_more_and_its_account_is_the_servers(
    apart: Path, tmp_path: Path
) -> None:
    noisy = ("privacy.local.noise=1", "local_steps=2", "rounds=3", f"clients_per_round={len(CLIENTS)}")
    free = served(apart, tmp_path / "free", {"noise": 1.0}, *noisy)
    ledger = Ledger(tmp_path / "free" / "nodes" / PICKY / "state")
    told = json.loads((free / "results.json").read_text())["privacy"]["local"]["epsilon"][PICKY]
    assert ledger.epsilon(1e-5) == pytest.approx(told, rel=1e-6)
    rounds = [entry.round for entry in ledger.entries()]
    assert rounds == [1, 2, 3]

    budget = ledger.epsilon(1e-5) * 0.999
    out = served(apart, tmp_path / "held", {"epsilon": budget}, *noisy)
    failed = [event for event in events(out, "failed") if event["client"] == PICKY]
    # TAP takes one of the two steps with what it uploads; a round is begun only if both could be paid for.
    assert [event["round"] for event in failed] == [2, 3]
    assert "the node's budget is spent" in failed[0]["why"]
    assert Ledger(tmp_path / "held" / "nodes" / PICKY / "state").epsilon(1e-5) <= budget
    assert PICKY in {row["client"] for row in rows(out)}  # it is tested all the same


def test_results_stay_on_a_node_that_says_so(apart: Path, tmp_path: Path) -> None:
    out = served(apart, tmp_path, {"results": False})
    assert {row["client"] for row in rows(out)} == set(CLIENTS) - {PICKY}
    kept = list((tmp_path / "nodes" / PICKY / "state").glob("*/rows.json"))
    assert len(kept) == 1
    mine = json.loads(kept[0].read_text())
    assert {row["client"] for row in mine} == {PICKY}
    assert not events(out, "failed", "rejected", "refused")
