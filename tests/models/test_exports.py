"""Other forms of a model, run by the libraries that they are for: peft, onnxruntime, torch.export."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoModel

from backbones.test_pretrained_tower import bert, with_preprocessor
from encoders import build
from fedtap.models.card import card_of_run
from fedtap.models.export import export_model
from fedtap.models.merging import merged_network
from fedtap.models.personal_model import PersonalModel
from fedtap.models.saved_model import read_model
from fedtap.runtime.errors import UserError
from tiny import jittered
from tiny_federation import called

TEXTS = ("yes it is red", "no", "a big blue movie of it", "the film is there", "red")
CAPTIONED = {"name": "captioned", "type": "classification", "modality": "image+text", "domain": "d", "source": "csv",
             "path": "t.csv", "classes": ["dark", "light"]}  # fmt: skip
REDRAW = {
    "name": "redraw",
    "type": "reconstruction",
    "modality": "image",
    "domain": "d",
    "source": "csv",
    "path": "t.csv",
}
ASK = {"name": "ask", "type": "text_generation", "modality": "image", "domain": "d", "source": "csv", "path": "t.csv",
       "columns": {"target": "text"}}  # fmt: skip


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose towers, a ViT and a BERT of folders, and fusion are adapted by trained low-rank matrices."""
    folder = tmp_path_factory.mktemp("adapted")
    build("vit").save_pretrained(folder / "vit")
    with_preprocessor(folder / "vit")
    bert(folder / "bert")
    draw = np.random.default_rng(5)
    with (folder / "t.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text", "label", "split"])
        for i in range(15):
            Image.fromarray(draw.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / f"{i}.png")
            split = "train" if i < 9 else "validation" if i < 12 else "test"
            table.writerow([f"{i}.png", f"{TEXTS[i % 5]} {'abcdefghijklmno'[i]}", ("dark", "light")[i % 2], split])
    settings = {
        "rounds": 1,
        "clients_per_round": 1,
        "local_steps": 2,
        "batch_size": 4,
        "method": {"name": "fedavg_ft"},
        "backbone": {
            "vision": "vit",
            "text": "bert",
            "image_size": 32,
            "text_tokens": 16,
            "lora": {"rank": 2, "alpha": 4},
        },
        "network": {"dim": 8, "heads": 2, "expert_dim": 8, "domain_dim": 4, "adaptation": "lora", "lora_rank": 2},
        "training": {"lr": 0.05, "finetune_steps": 2, "finetune_lr": 0.05, "select_every": 1},
        "clients": [{"id": "site", "tasks": [CAPTIONED, REDRAW, ASK]}],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings))
    assert called("run", folder / "mine.yaml", "--out", folder / "run") == 0
    return folder


@pytest.fixture(scope="module")
def model(adapted: Path) -> PersonalModel:
    """Return the run's model with all weights moved, those too that so short a training leaves at zero."""
    saved = read_model(adapted / "run", "site")
    moved = replace(saved, state=jittered(saved.state, scale=0.1))
    return PersonalModel(moved, partial(card_of_run, adapted / "run", saved))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 50, 3)).astype(np.uint8)


def test_frozen_weights_of_a_folder_are_named_by_digest_and_found_where_they_have_moved(
    adapted: Path, model: PersonalModel, tmp_path: Path
) -> None:
    known = model.predict(image=picture(0), text=TEXTS[0], task="captioned")
    folder = model.save_pretrained(tmp_path / "model")
    config = (folder / "config.json").read_text()
    assert str(adapted) not in config
    assert str(adapted) not in (folder / "README.md").read_text()
    assert [origin["name"] for origin in json.loads(config)["origins"]] == ["vit", "bert"]
    with pytest.raises(UserError, match=r"needs the folder 'vit' .* --backbone FOLDER"):
        PersonalModel.from_pretrained(folder)
    moved = tmp_path / "moved"
    for role, name in (("vision", "vit"), ("text", "bert")):
        (moved / role).mkdir(parents=True)
        for file in (adapted / name).iterdir():
            (moved / role / file.name).write_bytes(file.read_bytes())
    for given in (moved, {"vision": moved / "vision", "text": str(adapted / "bert")}):
        found = PersonalModel.from_pretrained(folder, backbone=given)
        assert found.predict(image=picture(0), text=TEXTS[0], task="captioned") == known
    weights = moved / "text" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="is not that of 'bert'"):
        PersonalModel.from_pretrained(folder, backbone=moved)
    with pytest.raises(UserError, match="'path' are in no folder"):
        PersonalModel.from_pretrained(folder, backbone={"path": moved})


def test_frozen_weights_can_be_carried_along(model: PersonalModel, tmp_path: Path) -> None:
    known = model.predict(image=picture(0), text=TEXTS[0], task="captioned")
    folder = model.save_pretrained(tmp_path / "model", with_backbone=True)
    assert sorted(path.name for path in (folder / "backbone").iterdir()) == ["text", "vision"]
    folder = folder.rename(tmp_path / "elsewhere")
    found = PersonalModel.from_pretrained(folder)
    assert found.predict(image=picture(0), text=TEXTS[0], task="captioned") == known
    config = json.loads((folder / "backbone" / "text" / "config.json").read_text())
    (folder / "backbone" / "text" / "config.json").write_text(
        json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}})
    )
    with pytest.raises(UserError, match="code of its own"):
        PersonalModel.from_pretrained(folder)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers' own, of what peft asks it
def test_peft_loads_the_towers_adapters_with_the_same_outputs(
    adapted: Path, model: PersonalModel, tmp_path: Path
) -> None:
    done = export_model(model, tmp_path / "peft", "peft")
    assert [path.name for path in done.written] == ["vision", "text"]
    backbone, frozen = model.loaded.backbone, model.loaded.network.frozen
    pixels = torch.from_numpy(backbone.vision.prepare(picture(1)))[None]
    ids = torch.from_numpy(backbone.text.prepare(TEXTS[2]))[None]
    for part, role, name, given in (("image", "vision", "vit", pixels), ("text", "text", "bert", ids)):
        plain = AutoModel.from_pretrained(adapted / name).eval()
        peft = PeftModel.from_pretrained(AutoModel.from_pretrained(adapted / name), tmp_path / "peft" / role).eval()
        with torch.no_grad():
            mine = frozen[part](given, None)
            theirs = peft(given).last_hidden_state
            assert (theirs - plain(given).last_hidden_state).abs().max() > 1e-3  # the adapters have been trained
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-5)
        config = json.loads((tmp_path / "peft" / role / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (name, 2, 4.0)


def test_merged_weights_answer_as_the_adapters_do(model: PersonalModel) -> None:
    merged = merged_network(model.loaded)
    names = [name for name, _ in merged.named_parameters() if "lora" in name or name.endswith(("_A", "_B"))]
    assert all("adapters" in name for name in names)  # held by the encoders, and used by nobody
    assert not [name for name, _ in merged.named_modules() if "lora" in name]
    backbone = model.loaded.backbone
    from fedtap.batch import TaskBatch

    ids = torch.from_numpy(backbone.text.prepare(TEXTS[0]))[None]
    pixels = torch.from_numpy(backbone.vision.prepare(picture(2)))[None]
    zero = torch.zeros(1, dtype=torch.long)
    part = TaskBatch(model.tasks["captioned"].pair, zero, pixels, ids, torch.ones_like(ids, dtype=torch.bool), zero)
    with torch.no_grad():
        (mine,), (theirs,) = model.loaded.network((part,)), merged((part,))
    torch.testing.assert_close(theirs.output, mine.output, rtol=0, atol=1e-5)


def given_pixels(about: dict[str, Any], examples: list[dict[str, Any]]) -> np.ndarray:
    """Return pictures made as preprocessing.json says, without fedtap."""
    image = about["image"]
    pixels = []
    for example in examples:
        resized = Image.fromarray(example["image"]).resize(
            (image["size"],) * 2, Image.Resampling[image["resample"].upper()]
        )
        values = (np.asarray(resized, np.float32) / 255 - np.float32(image["mean"])) / np.float32(image["std"])
        pixels.append(values.transpose(2, 0, 1))
    return np.stack(pixels)


def given_to(
    about: dict[str, Any], tokenizer: Tokenizer, count: int
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return inputs made as preprocessing.json says, without fedtap, and the examples that they are of."""
    text = about["text"]
    examples = [{"image": picture(seed), "text": TEXTS[seed]} for seed in range(count)]
    cut = [
        tokenizer.encode(example["text"], add_special_tokens=False).ids[: text["tokens"] - 2] for example in examples
    ]
    rows = [[text["start_id"], *ids, text["end_id"]] for ids in cut]
    longest = max(map(len, rows))
    ids = np.array([row + [text["pad_id"]] * (longest - len(row)) for row in rows])
    mask = np.array([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    return {"pixels": given_pixels(about, examples), "ids": ids, "mask": mask}, examples


@pytest.mark.slow
@pytest.mark.parametrize("task", ["captioned", pytest.param("redraw", marks=pytest.mark.thorough)])
def test_onnx_answers_as_the_model_for_any_batch_and_length(model: PersonalModel, task: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    done = export_model(model, tmp_path / "onnx", "onnx", task=task)
    assert [path.name for path in done.written] == [f"{task}.onnx"]
    about = json.loads((tmp_path / "onnx" / "preprocessing.json").read_text())
    inputs = about["tasks"][task]["inputs"]
    if task == "captioned":
        assert about["tasks"][task] == {
            "inputs": ["pixels", "ids", "mask"], "output": "probabilities", "classes": ["dark", "light"],
        }  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / f"{task}.onnx")
    for count in (1, 5):
        if task == "captioned":
            tokenizer = Tokenizer.from_file(str(tmp_path / "onnx" / "tokenizer.json"))
            given, examples = given_to(about, tokenizer, count)
        else:
            examples = [{"image": picture(seed)} for seed in range(count)]
            given = {"pixels": given_pixels(about, examples)}
        (found,) = session.run([about["tasks"][task]["output"]], {name: given[name] for name in inputs})
        for row, example in enumerate(examples):
            known = model.predict(**example, task=task)
            if task == "captioned":
                np.testing.assert_allclose(found[row], list(known["probabilities"].values()), atol=1e-4)
            else:
                np.testing.assert_allclose(found[row].transpose(1, 2, 0), known / 127.5 - 1, atol=1 / 127.5)
    assert not np.allclose(found[0], found[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.thorough  # what it exports is what ONNX is made of
def test_a_program_of_torch_export_answers_as_the_model(model: PersonalModel, tmp_path: Path) -> None:
    export_model(model, tmp_path / "pt2", "torch.export", task="captioned")
    assert sorted(path.name for path in (tmp_path / "pt2").iterdir()) == [
        "captioned.pt2", "preprocessing.json", "tokenizer.json",
    ]  # fmt: skip
    about = json.loads((tmp_path / "pt2" / "preprocessing.json").read_text())
    given, examples = given_to(about, Tokenizer.from_file(str(tmp_path / "pt2" / "tokenizer.json")), 4)
    program = torch.export.load(tmp_path / "pt2" / "captioned.pt2").module()
    found = program(**{name: torch.from_numpy(value) for name, value in given.items()})
    for row, example in zip(found.tolist(), examples, strict=True):
        assert row == pytest.approx(
            list(model.predict(**example, task="captioned")["probabilities"].values()), abs=1e-5
        )


def test_what_cannot_be_had_says_why(model: PersonalModel, tmp_path: Path) -> None:
    for format, more, message in (
        ("onxx", {}, "did you mean 'onnx'"),
        ("onnx", {"task": "ask"}, "words are searched for one by one"),
        ("torch.export", {"with_backbone": True}, "is for --format fedtap"),
        ("peft", {"task": "redraw"}, "takes the whole model"),
    ):
        with pytest.raises(UserError, match=message):
            export_model(model, tmp_path / "none", format, **more)
    assert not (tmp_path / "none").exists()
