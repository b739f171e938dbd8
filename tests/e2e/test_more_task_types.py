"""A whole run of tasks with several labels, a number, or several right answers: results, report, models, batches, a graph."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from e2e.conftest import Command, do_run, made_once, rows
from fedtap.models.export import export_model
from fedtap.models.graph import TaskGraph
from fedtap.models.personal_model import PersonalModel
from fedtap.scenario.scenario import load_scenario
from fedtap.serving.asked import answered
from tiny_federation import settings

TAGS = ["cold", "old", "red"]
TASKS: dict[str, dict[str, Any]] = {
    "tags": {
        "type": "multilabel_classification",
        "modality": "text",
        "domain": "things",
        "source": "csv",
        "path": "data/things.csv",
        "columns": {"label": "tags"},
        "classes": TAGS,
        "separator": "|",
    },
    "light": {
        "type": "regression",
        "modality": "image",
        "domain": "pictures",
        "source": "jsonl",
        "path": "data/pictures.jsonl",
        "scale": [0, 255],
    },
    "ask": {
        "type": "text_generation",
        "modality": "image+text",
        "domain": "pictures",
        "source": "jsonl",
        "path": "data/pictures.jsonl",
        "columns": {"target": "answers"},
    },
}
CLIENTS = {"one": ("tags", "light"), "two": ("tags", "ask"), "three": ("light", "ask")}


def write(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    with (folder / "data" / "things.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "tags"])
        for i in range(80):
            tags = [tag for place, tag in enumerate(TAGS) if i >> place & 1]
            table.writerow([f"thing {i} is {' and '.join(tags) or 'plain'}", "|".join(tags)])
    lines = []
    for i in range(80):
        shade = int(draw.integers(0, 256))
        Image.fromarray(np.full((32, 32, 3), shade, np.uint8) ^ np.uint8(i % 8)).save(folder / "data" / f"{i}.png")
        said = ["yes", "it is"] if shade < 128 else "no"
        lines.append({"image": f"{i}.png", "text": f"is it dark {i}", "target": shade, "answers": said})
    (folder / "data" / "pictures.jsonl").write_text("\n".join(map(json.dumps, lines)))
    clients = [{"id": id, "tasks": [{"name": task, **TASKS[task]} for task in tasks]} for id, tasks in CLIENTS.items()]
    changed = {
        "method": {"name": "tap", "judge": "metric"},
        "evaluation": {"class_metrics": ["auroc", "balanced_accuracy"], "cross_examples": 8},
    }
    path = folder / "more.yaml"
    path.write_text(yaml.safe_dump(settings(clients=clients, rounds=2, **changed)))
    return path


@pytest.fixture(scope="session")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_once(tmp_path_factory, "more", lambda place: write(place))
    return made_once(tmp_path_factory, "more", lambda place: None) / "more.yaml"


@pytest.fixture(scope="session")
def whole(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "more-run", lambda out: do_run(scenario, out))


@pytest.fixture
def model(whole: Path) -> PersonalModel:
    return PersonalModel.from_run(whole, "one")


def test_every_task_has_its_metrics_by_models_and_baselines(whole: Path) -> None:
    found = {(row["task"], row["model"], row["metric"]): row["value"] for row in rows(whole) if row["split"] == "test"}
    several = {"example_f1", "micro_f1", "macro_f1", "average_precision", "auroc", "balanced_accuracy", "cross_entropy"}
    expected = {
        "tags": {"personal": several, "base_rates": several},
        "light": {
            "personal": {"mae", "mse", "r2"},
            "mean_value": {"mae", "mse", "r2"},
            "median_value": {"mae", "mse", "r2"},
        },
        "ask": {
            "personal": {"exact_match", "chrf", "rouge_l", "cross_entropy", "perplexity"},
            "majority": {"exact_match"},
        },
    }
    for task, models in expected.items():
        for name, metrics in models.items():
            there = {metric for of, by, metric in found if (of, by) == (task, name)}
            assert there <= metrics
            assert metrics - there <= {"micro_f1", "macro_f1"}  # of a baseline that answers no label there may be none
    assert {row["family"] for row in rows(whole)} == {"text_classification", "image_regression", "text_generation"}
    assert all(row["value"] is not None and math.isfinite(row["value"]) for row in rows(whole))
    assert {row["split"] for row in rows(whole)} == {"test", "cross"}


def test_outcomes_and_examples_are_kept_and_shown(whole: Path) -> None:
    kept = {path.stem: json.loads(path.read_text())["tasks"] for path in (whole / "outcomes").iterdir()}
    for row in rows(whole):
        values = kept[row["client"]][row["task"]]["values"].get(row["model"])
        if row["split"] == "test" and row["metric"] == kept[row["client"]][row["task"]]["metric"] and values:
            assert math.fsum(values) / len(values) == pytest.approx(row["value"], rel=1e-5)
    asked = (("one", "tags"), ("one", "light"), ("two", "ask"))
    truths = {task: [each["truth"]["text"] for each in kept[client][task]["shown"]] for client, task in asked}
    assert all(set(truth.split("; ")) <= {*TAGS, "(none)"} for truth in truths["tags"])
    assert all(0 <= float(truth) <= 255 for truth in truths["light"])
    assert set(truths["ask"]) <= {"yes / it is", "no"}
    page = (whole / "report.html").read_text(encoding="utf-8")
    for words in ("image regression", "MAE", "F1 per example", "mAP", "base rates"):
        assert words in page


def test_the_model_answers_labels_and_numbers_in_the_users_unit(model: PersonalModel) -> None:
    said = model.predict(text="thing 3 is cold and old", task="tags")
    assert list(said["probabilities"]) == TAGS
    assert said["labels"] == [tag for tag, share in said["probabilities"].items() if share > 0.5]
    assert answered(said).labels == said["labels"]
    dark, bright = (model.predict(image=np.full((32, 32, 3), shade, np.uint8), task="light") for shade in (5, 250))
    assert isinstance(dark, float)
    assert dark < bright
    assert answered(dark).value == dark


def test_a_saved_model_answers_the_same_and_many_at_once(
    model: PersonalModel, tmp_path: Path, fedtap: Command, scenario: Path
) -> None:
    model.save_pretrained(tmp_path / "model")
    texts = ["thing 3 is cold and old", "thing 4 is red", "thing 0 is plain"]
    (tmp_path / "in.csv").write_text("\n".join(["text", *texts]))
    known = [model.predict(text=text, task="tags") for text in texts]
    for name in ("out.csv", "out.jsonl"):
        done = fedtap(
            "predict", tmp_path / "model", "--task", "tags", "--input", tmp_path / "in.csv", "--output", tmp_path / name
        )
        assert done.code == 0, done.err
    listed = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in listed] == [each["labels"] for each in known]
    assert [row["probabilities"] for row in listed] == [each["probabilities"] for each in known]
    with (tmp_path / "out.csv").open() as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == ["; ".join(each["labels"]) for each in known]
    said = fedtap("predict", tmp_path / "model", "--task", "tags", "--text", texts[0]).out.splitlines()
    assert said[0] == ("; ".join(known[0]["labels"]) or "(no label)")
    assert {line.split()[1] for line in said[1:]} == set(TAGS)
    picture = scenario.parent / "data" / "3.png"
    done = fedtap("predict", tmp_path / "model", "--task", "light", "--image", picture)
    assert float(done.out) == model.predict(image=picture, task="light")
    assert "| light | regression | image |" in (tmp_path / "model" / "README.md").read_text()


def test_a_graph_gives_what_the_model_answers(model: PersonalModel) -> None:
    picture = np.full((32, 32, 3), 90, np.uint8)
    pixels = torch.from_numpy(model.loaded.backbone.vision.prepare(picture))[None]
    with torch.no_grad():
        found = TaskGraph(model.loaded, model.tasks["light"])(pixels=pixels)
    assert found.tolist() == pytest.approx([model.predict(image=picture, task="light")], rel=1e-4)
    ids = torch.from_numpy(model.loaded.backbone.text.prepare("thing 4 is red"))[None]
    with torch.no_grad():
        chances = TaskGraph(model.loaded, model.tasks["tags"])(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))
    said = model.predict(text="thing 4 is red", task="tags")["probabilities"]
    assert chances[0].tolist() == pytest.approx(list(said.values()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.thorough  # tests/models/test_exports.py has ONNX run for every commit
def test_onnx_files_give_chances_of_labels_and_numbers_in_the_users_unit(model: PersonalModel, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    export_model(model, tmp_path / "onnx", "onnx")
    about = json.loads((tmp_path / "onnx" / "preprocessing.json").read_text())["tasks"]
    assert about["tags"] == {"inputs": ["ids", "mask"], "output": "probabilities", "classes": TAGS}
    assert about["light"] == {"inputs": ["pixels"], "output": "numbers"}
    pictures = [np.full((32, 32, 3), shade, np.uint8) for shade in (30, 90, 200)]
    pixels = np.stack([model.loaded.backbone.vision.prepare(picture) for picture in pictures])
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "light.onnx")
    (numbers,) = session.run(["numbers"], {"pixels": pixels})
    assert numbers.tolist() == pytest.approx([model.predict(image=each, task="light") for each in pictures], rel=1e-4)
    ids = model.loaded.backbone.text.prepare("thing 4 is red")[None]
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "tags.onnx")
    (chances,) = session.run(["probabilities"], {"ids": ids, "mask": np.ones(ids.shape, bool)})
    known = model.predict(text="thing 4 is red", task="tags")["probabilities"]
    assert chances[0].tolist() == pytest.approx(list(known.values()), abs=1e-4)


def test_the_same_scale_is_asked_of_all_who_share_a_number(scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    told = yaml.safe_load(scenario.read_text())
    told["clients"][2]["tasks"][0]["scale"] = [0, 100]
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(told))
    done = fedtap("scenario", "validate", tmp_path / "other.yaml")
    assert done.code == 2
    assert "head 'light' is" in done.err
    assert load_scenario(scenario).client("one").tasks[1].scale == (0, 255)
