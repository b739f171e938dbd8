"""Whole runs on FLAVA, untrained and tiny: towers frozen, adapted in part, adapted from end to end."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from e2e.conftest import Command, same_end
from e2e.test_interrupted import at, cut_off
from fedtap.backbones import load_backbone
from fedtap.components import ComponentKey, ComponentState
from fedtap.config import load_scenario
from tiny_federation import write_scenario

pytestmark = pytest.mark.usefixtures("no_report")

FLAVA = {"name": "flava", "weights": "untrained-tiny", "image_size": 64, "text_tokens": 8}
NETWORK = {"dim": 32, "heads": 4, "expert_dim": 64, "layers": 2, "adaptation": "lora", "lora_rank": 2, "domain_dim": 4}
LORA: dict[str, Any] = {
    "frozen": None,
    "last layer": {"rank": 2, "alpha": 4, "dropout": 0.3, "layers": 1},
    "every layer": {"rank": 2, "alpha": 4, "dropout": 0.3},
}


@pytest.fixture(scope="module", params=LORA)
def flava(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scenario's file."""
    folder = tmp_path_factory.mktemp("flava")
    backbone = {**FLAVA, "lora": LORA[request.param]}
    return write_scenario(folder, backbone=backbone, network=NETWORK, evaluation={"cross_examples": 8, "save": "all"})


def model(run: Path, client: str, name: str) -> ComponentState:
    return ComponentState.load(run / "clients" / client / name / "model.safetensors")


def test_a_run_adapts_what_it_is_told_to_and_resumes_exactly(flava: Path, tmp_path: Path, fedtap: Command) -> None:
    scenario = load_scenario(flava)
    towers = load_backbone(scenario.backbone)
    frozen = [tower.module.state_dict() for tower in (towers.vision, towers.text)]
    before = [{name: tensor.clone() for name, tensor in tensors.items()} for tensors in frozen]
    done = fedtap("run", flava, "--out", tmp_path / "whole")
    assert done.code == 0, done.err
    for now, was in zip(frozen, before, strict=True):
        assert all(torch.equal(now[name], was[name]) for name in was)

    personal = model(tmp_path / "whole", "both", "personal")
    for part in ("image", "text"):
        matrices = {name: m for name, m in personal[ComponentKey("encoder", (part,))].items() if "adapters" in name}
        adapted = 0 if scenario.backbone.lora is None else 1 if scenario.backbone.lora.layers == 1 else 2
        assert len(matrices) == 4 * adapted
        assert all(matrix.abs().sum() > 0 for matrix in matrices.values()), "an adapter's B is still at zero"

    cut_off(flava, tmp_path / "run", at("update", round=2))
    again = fedtap("run", flava, "--out", tmp_path / "run", "--resume")
    assert again.code == 0, again.err
    same_end(tmp_path / "run", tmp_path / "whole")

    said = fedtap("predict", tmp_path / "whole", "--client", "both", "--task", "mood", "--text", "a fine day", "--json")
    assert json.loads(said.out)["output"]["label"] in ("sad", "glad"), said.err


def test_the_plan_says_what_a_client_sends(flava: Path, tmp_path: Path, fedtap: Command) -> None:
    plan = {row["client"]: row for row in json.loads(fedtap("scenario", "plan", flava, "--json").out)["clients"]}
    assert fedtap("run", flava, "--out", tmp_path / "run").code == 0
    for client in ("reader", "painter", "asker"):
        assert plan[client]["bytes"] == model(tmp_path / "run", client, "federated").nbytes


def test_a_probe_of_adapted_towers_is_refused(flava: Path, tmp_path: Path, fedtap: Command) -> None:
    done = fedtap("run", flava, "--method", "probe", "--out", tmp_path / "run")
    if load_scenario(flava).backbone.lora is None:
        assert done.code == 0, done.err
    else:
        assert done.code == 2
        assert "method 'probe' needs frozen towers; remove backbone.lora" in done.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": {**NETWORK, "dim": 16}}, "need network.dim=32, network.heads=4, network.expert_dim=64; set them"),
        (
            {"network": {**NETWORK, "layers": 3}},
            "network.layers=3 needs 6 fusion layers, and flava:untrained-tiny has 4",
        ),
        ({"backbone": {**FLAVA, "image_size": 40}}, "FLAVA cuts images into patches of 16 pixels; give 32, not 40"),
        ({"backbone": {**FLAVA, "lora": {"layers": 5}}}, "FLAVA's image transformer has 2 layers, not 5"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(
    changes: dict[str, Any], says: str, tmp_path: Path, fedtap: Command
) -> None:
    done = fedtap("scenario", "plan", write_scenario(tmp_path, **{"backbone": FLAVA, "network": NETWORK, **changes}))
    assert done.code == 2
    assert says in done.err
    assert done.err.count("\n") == 1
