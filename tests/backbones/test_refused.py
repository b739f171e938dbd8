"""What cannot be a backbone is refused by `fedtap scenario validate`: exit code 2, and one line that says how to mend it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer

from encoders import ASK, write, write_pair
from tiny_federation import called

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("resnet", "t5", "albert"):
        write(kind, folder / kind)
    write_pair("CLIP", folder / "clip")
    return folder


def told(models: Path, tmp_path: Path, capsys: Any, change: Change | None = None, **backbone: Any) -> tuple[int, str]:
    """Return the exit code of `scenario validate`, and what it said."""
    home = Path(shutil.copytree(models, tmp_path / "home"))
    if change is not None:
        change(home)
    settings = {
        "backbone": {"vision": "resnet", "text": "t5", "image_size": 32, "text_tokens": 16, **backbone},
        "clients": [{"id": "site", "tasks": [ASK]}],
    }
    (home / "mine.yaml").write_text(yaml.safe_dump(settings))
    code = called("scenario", "validate", home / "mine.yaml")
    out = capsys.readouterr()
    return code, out.out if code == 0 else out.err


PAIR = {"name": "clip", "path": "clip"}


@pytest.mark.parametrize(
    "backbone", [{}, {"lora": {"targets": ["conv2", "gate"]}}, PAIR, {"vision": "clip", "text": "clip"}]
)
def test_what_is_whole_is_valid(backbone: dict[str, Any], models: Path, tmp_path: Path, capsys: Any) -> None:
    code, said = told(models, tmp_path, capsys, **backbone)
    assert (code, said.splitlines()[-1].split(": ")[-1]) == (0, "valid; 1 clients, text generation")


def removed(*names: str) -> Change:
    def change(home: Path) -> None:
        for name in names:
            (home / name).unlink()

    return change


def pickled(home: Path) -> None:
    (home / "t5" / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, home / "t5" / "pytorch_model.bin")


def adapters_alone(home: Path) -> None:
    (home / "resnet" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/else"}))


def larger_vocabulary(home: Path) -> None:
    pieces = Tokenizer.from_file(str(home / "t5" / "tokenizer.json"))
    pieces.add_tokens(["another"])
    pieces.save(str(home / "t5" / "tokenizer.json"))


def of_another_sort(home: Path) -> None:
    config = json.loads((home / "t5" / "config.json").read_text())
    (home / "t5" / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))


@pytest.mark.parametrize(
    ("change", "backbone", "says", "mend"),
    [
        (removed("t5/tokenizer.json"), {}, "t5/tokenizer.json: not a tokenizer that can be read", "AutoTokenizer"),
        (removed("clip/tokenizer.json"), PAIR, "clip/tokenizer.json: not a tokenizer", "AutoTokenizer"),
        (
            removed("resnet/preprocessor_config.json"),
            {},
            "preprocessor_config.json: ",
            "must hold image_mean and image_std",
        ),
        (
            removed("clip/preprocessor_config.json"),
            PAIR,
            "preprocessor_config.json: ",
            "must hold image_mean and image_std",
        ),
        (removed("resnet/model.safetensors"), {}, "resnet: holds no .safetensors file", "save_pretrained"),
        (pickled, {}, "t5: holds no .safetensors file", "safe_serialization=True"),
        (adapters_alone, {}, "resnet: holds adapters of peft", "merge_and_unload"),
        (larger_vocabulary, {}, "tokens, its text model", "restore both from one checkpoint"),
        (of_another_sort, {}, "backbone.text: t5 is of type 'gpt2'", "use one of albert, bert"),
        (None, {"vision": "t5"}, "backbone.vision: t5 is of type 't5'", "as backbone.text it will do"),
        (
            None,
            {"lora": {"targets": ["qkv"]}},
            "'qkv' is no part of a layer",
            "resnet has conv1, conv2, conv3; t5 has query",
        ),
        (
            None,
            {"lora": {"targets": ["query"]}},
            "resnet has nothing of query to adapt",
            "name some of conv1, conv2, conv3",
        ),
        (None, {"lora": {"targets": []}}, "backbone.lora.targets", "at least 1"),
        (None, {"text": "albert", "lora": {"layers": 1}}, "layers of albert share their weights", "give all"),
        (None, {"lora": {"layers": 9}}, "backbone.lora.layers: resnet has 3 layers, not 9", "give at most 3, or all"),
        (None, {"image_size": 36}, "resnet cuts images into patches of 8 pixels", "give 32, not 36"),
        (None, {"text": "albert", "text_tokens": 512, "vision": "~/nowhere"}, "there is no folder", "mend the path"),
        (None, {"vision": "./resnett"}, "there is no folder", "did you mean 'resnet'?"),
        (None, {**PAIR, "path": "clipp"}, "there is no folder", "leave out the key to fetch openai/clip"),
    ],
)
def test_what_is_refused_is_told_in_one_line(
    change: Change | None, backbone: dict[str, Any], says: str, mend: str, models: Path, tmp_path: Path, capsys: Any
) -> None:
    code, said = told(models, tmp_path, capsys, change, **backbone)
    assert code == 2
    assert said.count("\n") == 1
    assert says in said
    assert mend in said
