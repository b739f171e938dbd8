"""Whole runs on FLAVA and ViLT, untrained and tiny: towers frozen, adapted in part, adapted from end to end."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from e2e.conftest import Command, do_run, same_end
from e2e.test_interrupted import at, cut_off
from fedtap.backbones import load_backbone
from fedtap.components import ComponentKey, ComponentState
from fedtap.scenario.scenario import BackboneSettings, load_scenario
from tiny_federation import write_scenario

pytestmark = pytest.mark.usefixtures("no_report")

FLAVA = {"name": "flava", "weights": "untrained-tiny", "image_size": 64, "text_tokens": 8}
NETWORK = {"dim": 32, "heads": 4, "expert_dim": 64, "layers": 2, "adaptation": "lora", "lora_rank": 2, "domain_dim": 4}
WHOLE = {"rank": 2, "alpha": 4, "dropout": 0.3}
BACKBONES: dict[str, dict[str, Any]] = {
    "flava, frozen": FLAVA,
    "flava, last layer": {**FLAVA, "lora": {**WHOLE, "layers": 1}},
    "flava, every layer": {**FLAVA, "lora": WHOLE},
    "vilt, frozen": {**FLAVA, "name": "vilt"},
    "vilt, patches": {**FLAVA, "name": "vilt", "lora": WHOLE},
}


BETWEEN = ("flava, last layer", "vilt, frozen")
"""What lies between the others, and takes as long: in `make test-thorough`."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.thorough] if name in BETWEEN else [])
        for name in BACKBONES
    ],
)
def foundation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scenario's file."""
    folder, backbone = tmp_path_factory.mktemp("foundation"), BACKBONES[request.param]
    return write_scenario(folder, backbone=backbone, network=NETWORK, evaluation={"cross_examples": 8, "save": "all"})


@pytest.fixture(scope="module")
def ran(foundation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a whole run, which has left the towers as they were."""
    out, towers = tmp_path_factory.mktemp("whole") / "run", load_backbone(load_scenario(foundation).backbone)
    frozen = [tower.module.state_dict() for tower in (towers.vision, towers.text)]
    before = [{name: tensor.clone() for name, tensor in tensors.items()} for tensors in frozen]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        do_run(foundation, out)
    for now, was in zip(frozen, before, strict=True):
        assert all(torch.equal(now[name], was[name]) for name in was)
    return out


THRIFTY = ("--set", "training.precision=bf16", "--set", "training.recompute=true")


def model(run: Path, client: str, name: str) -> ComponentState:
    return ComponentState.load(run / "clients" / client / name / "model.safetensors")


def test_a_run_adapts_what_it_is_told_to_and_resumes_exactly(
    foundation: Path, ran: Path, tmp_path: Path, fedtap: Command
) -> None:
    towers = load_backbone(load_scenario(foundation).backbone)
    personal = model(ran, "both", "personal")
    for part, adapters in (("image", towers.spec.vision_adapters), ("text", towers.spec.text_adapters)):
        matrices = {name: m for name, m in personal[ComponentKey("encoder", (part,))].items() if "adapters" in name}
        expected = {} if adapters is None else adapters.shapes()
        assert {name.removeprefix("adapters."): tuple(m.shape) for name, m in matrices.items()} == expected
        assert all(matrix.abs().sum() > 0 for matrix in matrices.values()), "an adapter's B is still at zero"

    cut_off(foundation, tmp_path / "run", at("update", round=2))
    again = fedtap("run", foundation, "--out", tmp_path / "run", "--resume")
    assert again.code == 0, again.err
    same_end(tmp_path / "run", ran)

    said = fedtap("predict", ran, "--client", "both", "--task", "mood", "--text", "a fine day", "--json")
    assert json.loads(said.out)["output"]["label"] in ("sad", "glad"), said.err


def test_the_plan_says_what_a_client_sends(foundation: Path, ran: Path, fedtap: Command) -> None:
    plan = {row["client"]: row for row in json.loads(fedtap("scenario", "plan", foundation, "--json").out)["clients"]}
    for client in ("reader", "painter", "asker"):
        assert plan[client]["bytes"] == model(ran, client, "federated").nbytes


def test_a_probe_of_adapted_towers_is_refused(foundation: Path, tmp_path: Path, fedtap: Command) -> None:
    done = fedtap("run", foundation, "--method", "probe", "--out", tmp_path / "run")
    settings = load_scenario(foundation).backbone
    if settings.model_dump() == BackboneSettings(**FLAVA).model_dump():
        assert done.code == 0, done.err
    else:
        assert done.code == 2
        assert f"method 'probe' needs towers that are frozen from end to end, and those of {settings.name}:" in done.err


@pytest.mark.slow
@pytest.mark.thorough
def test_recomputed_layers_change_nothing_and_bfloat16_little(tmp_path: Path, fedtap: Command) -> None:
    scenario = write_scenario(tmp_path, backbone=BACKBONES["flava, every layer"], network=NETWORK)
    plain, again, half = (tmp_path / name for name in ("plain", "again", "half"))
    for out, more in ((plain, ()), (again, THRIFTY[2:]), (half, THRIFTY)):
        done = fedtap("run", scenario, "--out", out, *more)
        assert done.code == 0, done.err
    sent, recomputed, rounded = (model(out, "both", "personal") for out in (plain, again, half))
    for key, name, tensor in sent.tensors():
        assert rounded[key][name].dtype == torch.float32
        torch.testing.assert_close(recomputed[key][name], tensor, rtol=1e-3, atol=1e-4)
    assert not sent.equal(rounded)
    losses = [
        [
            row["value"]
            for row in json.loads((out / "results.json").read_text())["rows"]
            if row["metric"] == "cross_entropy"
        ]
        for out in (plain, half)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": {**NETWORK, "dim": 16}}, "need network.dim=32, network.heads=4, network.expert_dim=64; set them"),
        (
            {"network": {**NETWORK, "layers": 3}},
            "network.layers=3 needs 6 fusion layers, and flava:untrained-tiny has 4",
        ),
        ({"backbone": {**FLAVA, "image_size": 40}}, "flava cuts images into patches of 16 pixels; give 32, not 40"),
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
