"""A method that deploys, for each task of a client, another of its models: what is scored, saved and asked is that one."""

import json
from pathlib import Path

import numpy as np
import pytest

import fedtap as package
from e2e.conftest import rows
from fedtap.algorithms.base import ByTask
from fedtap.algorithms.choice import Choice
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import write_sealed_json
from tiny_federation import TASKS, write_scenario

TEXT = "a warm and funny film"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run in which a client uses its personal model for one task, and the fine-tuned one for the other."""
    folder = tmp_path_factory.mktemp("by_task")
    listed = [{"id": "both", "tasks": [{"name": task, **TASKS[task]} for task in ("mood", "shade")]}]
    network = {"dim": 8, "heads": 2, "expert_dim": 8, "domain_dim": 4}
    data = {"train": 8, "validation": 4, "test": 4}
    scenario = write_scenario(folder, rounds=1, local_steps=5, network=network, clients=listed, data=data)
    chosen = {"mood": "personal", "shade": "finetuned"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtap.algorithms.choice.choose_by_task", lambda client, models: (chosen, []))
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        package.run(scenario, method="choice", out=folder / "run")
    return folder / "run"


def test_the_rows_of_a_choice_are_those_of_the_models_that_it_names(run: Path) -> None:
    found = {(row["task"], row["model"], row["split"], row["metric"]): row["value"] for row in rows(run)}
    chosen = {key: value for key, value in found.items() if key[1] == "chosen"}
    assert {key[0] for key in chosen} == {"mood", "shade"}
    for (task, _, split, metric), value in chosen.items():
        assert value == found[task, {"mood": "personal", "shade": "finetuned"}[task], split, metric]
    assert found["mood", "personal", "test", "cross_entropy"] != found["mood", "finetuned", "test", "cross_entropy"]


def test_the_deployed_choice_is_saved_with_the_models_that_it_names_and_answers_with_them(run: Path) -> None:
    assert {place.name for place in (run / "clients" / "both").iterdir()} == {"chosen", "finetuned", "personal"}
    assert not (run / "clients" / "both" / "chosen" / "model.safetensors").exists()
    asked = package.predict(run, client="both", task="mood", text=TEXT)
    assert asked == package.predict(run, client="both", task="mood", text=TEXT, model="personal")
    assert asked["model"] == "personal"
    assert asked["output"] != package.predict(run, client="both", task="mood", text=TEXT, model="finetuned")["output"]
    with pytest.raises(UserError, match="has no such task; did you mean 'mood'"):
        package.predict(run, client="both", task="mod", text=TEXT)


@pytest.mark.parametrize(
    ("by_task", "message"),
    [
        ({"mood": 3}, "does not say which model each task uses"),
        (["personal"], "does not say which model each task uses"),
        ({}, "does not say which model each task uses"),
        ({"mood": "../../other"}, "client 'both' has no such model"),
        ({"mood": "chosen"}, "uses model 'chosen', which is a choice itself"),
        ({"mode": "personal"}, "does not fit the models that it uses"),
    ],
)
def test_a_choice_that_names_no_model_is_refused(run: Path, by_task: object, message: str) -> None:
    config = run / "clients" / "both" / "chosen" / "config.json"
    kept = config.read_bytes()
    told = json.loads(kept)
    told.pop("digest")
    try:
        write_sealed_json(config, {**told, "by_task": by_task}, told.pop("of"))
        with pytest.raises(UserError, match=message):
            package.predict(run, client="both", task="mood", text=TEXT)
    finally:
        config.write_bytes(kept)


def test_a_choice_leaves_its_run_with_the_models_that_it_names(run: Path, tmp_path: Path) -> None:
    inside = package.PersonalModel.from_run(run, "both")
    folder = inside.save_pretrained(tmp_path / "both")
    files = {"README.md", "config.json", "model-finetuned.safetensors", "model-personal.safetensors"}
    assert {place.name for place in folder.iterdir()} == files
    outside = package.PersonalModel.from_pretrained(folder)
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    for _ in range(2):  # tasks take turns
        for model, name in (("personal", "mood"), ("finetuned", "shade")):
            given = {"text": TEXT} if name == "mood" else {"image": picture}
            expected = package.PersonalModel.from_run(run, "both", model).predict(task=name, **given)
            assert inside.predict(task=name, **given) == outside.predict(task=name, **given) == expected
    again = outside.save_pretrained(tmp_path / "again")
    assert all((again / place.name).read_bytes() == place.read_bytes() for place in folder.glob("*.safetensors"))
    weights = folder / "model-personal.safetensors"
    weights.write_bytes((folder / "model-finetuned.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"model-personal\.safetensors"):
        package.PersonalModel.from_pretrained(folder)


def test_a_method_whose_choice_names_a_model_that_it_does_not_make_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Choice, "models", lambda self, received, state: {"chosen": ByTask({"mood": "personal"})})
    with pytest.raises(UserError, match="its model 'chosen' uses 'personal', which is none of its models"):
        package.run(run.parent / "tiny.yaml", method="choice", out=tmp_path / "run")
