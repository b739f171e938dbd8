"""The paper's two federations, fetched from a stand-in of the hub with its layouts, run, and run again with nobody to ask."""

import json
from pathlib import Path

import pytest

from e2e.conftest import Command, events, snapshot
from fedtap.scenario.scenario import load_scenario
from hub_stand_in import point_at, served
from paper_hub import DATA_SETS, MODELS, paper_hub

SMALL = (
    *("rounds=1", "local_steps=1", "batch_size=8", "backbone.image_size=64", "backbone.text_tokens=8"),
    *("backbone.lora.rank=2", "network.dim=32", "network.heads=4", "network.expert_dim=64", "network.head_dim=16"),
    *("network.answer_tokens=4", "training.finetune_steps=1", "training.select_every=1", "data.split=[0.4,0.4,0.2]"),
    *("data.validation=2", "data.test=2", "evaluation.cross_examples=2", "evaluation.save=none"),
)
"""As the paper's in all that fetching is about: models, data sets, who holds what."""


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("model", MODELS)
def test_a_federation_of_the_paper_is_fetched_and_then_needs_nobody(
    model: str, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [word for each in SMALL for word in ("--set", each)]
    scenario = f"paper-{model}"
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
    with served(paper_hub(tmp_path / "models", models=(model,))) as hub:
        point_at(hub, tmp_path / "home", monkeypatch)
        first = fedtap("run", scenario, "--fetch", *settings, "--out", tmp_path / "first")
        assert first.code == 0, first.err
    asked = len(hub.asked)
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "another-cache"))  # all is encoded anew, by a model read anew
    point_at(hub, tmp_path / "home", monkeypatch)
    second = fedtap("run", scenario, *settings, "--out", tmp_path / "second")
    assert second.code == 0, second.err
    assert len(hub.asked) == asked
    one, two = tmp_path / "first", tmp_path / "second"
    assert (one / "results.json").read_bytes() == (two / "results.json").read_bytes()
    assert snapshot(one / "outcomes") == snapshot(two / "outcomes")
    names = {MODELS[model], *DATA_SETS} - ({"zh-plus/tiny-imagenet", "uoft-cs/cifar100"} if model == "vilt" else set())
    for run in (one, two):
        commits = json.loads((run / "run.json").read_text())["hub"]
        assert commits == {name: repo.commit for (_, name), repo in hub.repos.items() if name in names}
        assert {event["client"] for event in events(run, "personalised")} == {
            client.id for client in load_scenario(Path(scenario)).clients
        }
