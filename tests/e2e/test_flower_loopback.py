"""A whole run over Flower's messages, without a network: its results are those of the run in one process."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("flwr", reason="Flower needs Python 3.11")

from e2e.conftest import events, rows
from fedtap import experiment
from fedtap.experiment import deployment
from loopback import LoopbackGrid, app_node
from tiny_federation import CLIENTS

pytestmark = pytest.mark.usefixtures("no_report")


def nodes_of(scenario: Path, folder: Path, config: Mapping[str, Any]) -> dict[int, Any]:
    """Return a node for each client, with a folder of its own that points at the scenario's data."""
    listed = yaml.safe_load(scenario.read_text())["clients"]
    found = {}
    for number, client in enumerate(listed, start=11):
        place = folder / client["id"]
        place.mkdir(parents=True, exist_ok=True)
        data = {task["name"]: {"path": str(scenario.parent / task["path"])} for task in client["tasks"]}
        (place / "node.yaml").write_text(yaml.safe_dump({"client": client["id"], "data": data}))
        settings = {"client-id": client["id"], "node": str(place)}
        found[number] = app_node(deployment.client_app(scenario), settings, config)
    return found


def without_cross(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in found if row["split"] != "cross"]


@pytest.fixture(scope="session")
def apart(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scenario with a path of its own for every client and task: what hospitals have."""
    folder = tmp_path_factory.mktemp("apart")
    raw = yaml.safe_load(scenario.read_text())
    for client in raw["clients"]:
        shutil.copytree(scenario.parent / "data", folder / client["id"] / "data")
        for task in client["tasks"]:
            task["path"] = f"{client['id']}/{task['path']}"
    path = folder / "apart.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_results_are_those_of_one_process(apart: Path, tmp_path: Path) -> None:
    experiment.run(apart, out=tmp_path / "here")
    config = {"out": str(tmp_path / "there"), "insecure": True, "patience": 1.0}
    grid = LoopbackGrid(nodes_of(apart, tmp_path / "nodes", config))
    deployment.serve(apart, grid, config, lambda event: None)
    here, there = without_cross(rows(tmp_path / "here")), rows(tmp_path / "there")
    assert [{**row, "value": 0} for row in here] == [{**row, "value": 0} for row in there]
    for mine, theirs in zip(here, there, strict=True):
        assert theirs["value"] == pytest.approx(mine["value"], abs=1e-6, rel=1e-6)
    assert not events(tmp_path / "there", "failed", "rejected", "refused")
    assert {event["client"] for event in events(tmp_path / "there", "joined")} == set(CLIENTS)
