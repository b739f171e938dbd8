"""Every backbone, frozen and with LoRA, from the plan to a prediction in another place: the table of docs/backbones.md."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from encoders import ASK, TEXT, VISION, config_of, write, write_pair
from fedtap import PersonalModel
from fedtap.backbones.encoders import skeleton
from fedtap.experiment.planning import plan_report
from fedtap.scenario.scenario import load_scenario
from tiny_federation import called

DOCS = Path(__file__).parents[2] / "docs" / "backbones.md"
STEPS = ("plan", "train", "save", "load", "predict")
TOWERS = [(VISION[at % len(VISION)], text) for at, text in enumerate(TEXT)]
PAIRS = [("CLIP",), ("Siglip",)]
assert {name for row in TOWERS for name in row} == {*VISION, *TEXT}
IN_SHORT = {
    ("convnext", "clip_text_model", "lora"),
    ("dinov3_vit", "modernbert", "frozen"),
    ("vit", "t5", "lora"),
    ("CLIP", "lora"),
}
"""What the fast tests have; the others take a minute together."""
LORA = {"rank": 2, "alpha": 4}


def rows() -> list[Any]:
    every = [(*names, way) for names in (*TOWERS, *PAIRS) for way in ("frozen", "lora")]
    assert set(every) >= IN_SHORT
    return [
        pytest.param(row[:-1], row[-1], id="-".join(row), marks=() if row in IN_SHORT else pytest.mark.slow)
        for row in every
    ]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDTAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        yield


def scenario(folder: Path, backbone: dict[str, Any]) -> Path:
    """Write a scenario of one site that answers questions about pictures, and its data."""
    draw = np.random.default_rng(5)
    with (folder / "t.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text", "target", "split"])
        for i in range(12):
            Image.fromarray(draw.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / f"{i}.png")
            split = "train" if i < 6 else "validation" if i < 9 else "test"
            table.writerow(
                [f"{i}.png", f"is it {['red', 'abc', 'def', 'ghi'][i % 4]} {'abcdefghijkl'[i]}", "yes it is", split]
            )
    settings = {
        "rounds": 1,
        "clients_per_round": 1,
        "local_steps": 2,
        "batch_size": 3,
        "method": {"name": "fedavg_ft"},
        "backbone": {"image_size": 32, "text_tokens": 16, **backbone},
        "network": {"dim": 8, "heads": 2, "expert_dim": 8, "domain_dim": 4, "answer_tokens": 6},
        "training": {"lr": 0.05, "finetune_steps": 1, "finetune_lr": 0.05, "select_every": 1},
        "clients": [{"id": "site", "tasks": [ASK]}],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.parametrize(("names", "way"), rows())
def test_a_backbone_goes_all_the_way(names: tuple[str, ...], way: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if len(names) == 1:
        write_pair(names[0], home / names[0])
        backbone = {"name": names[0].lower(), "path": names[0]}
        folders: Any = home / names[0]
    else:
        for name in names:
            write(name, home / name)
        backbone = dict(zip(("vision", "text"), names, strict=True))
        folders = {role: home / name for role, name in backbone.items()}
    path = scenario(home, {**backbone, **({"lora": LORA} if way == "lora" else {})})
    assert called("scenario", "validate", path) == 0
    encoders = plan_report(load_scenario(path))["server"]["kinds"]["encoder"]["parameters"]
    plain = plan_report(load_scenario(path, ["backbone.lora=null"]))["server"]["kinds"]["encoder"]["parameters"]
    assert (encoders > plain) == (way == "lora")

    assert called("run", path, "--out", home / "run") == 0
    model = PersonalModel.from_run(home / "run", "site")
    adapters = {
        name: tensor
        for key, named in model.loaded.saved.state.items()
        for name, tensor in named.items()
        if key.kind == "encoder" and name.startswith("adapters.")
    }
    assert all(tensor.abs().sum() > 0 for tensor in adapters.values()), "something that is adapted was not trained"
    assert bool(adapters) == (way == "lora")

    saved = model.save_pretrained(tmp_path / "saved")
    (home / "run").rename(tmp_path / "gone")
    again = PersonalModel.from_pretrained(saved, backbone=folders)
    picture = np.random.default_rng(1).integers(0, 255, (40, 30, 3)).astype(np.uint8)
    asked = {"image": picture, "text": "is it red", "task": "ask"}
    assert isinstance(again.predict(**asked), str)
    assert again.predict(**asked) == model.predict(**asked)


def table() -> str:
    """Return the table of docs/backbones.md: a line for each architecture that the test above has, frozen and with LoRA."""
    ways = "plan, train, save, load, predict"
    lines = ["| `model_type` | key | frozen | with LoRA | LoRA adapts | can adapt too |", "|---|---|---|---|---|---|"]
    for side, kinds in (("text", TEXT), ("vision", VISION)):
        for kind in kinds:
            encoder = skeleton(config_of(kind))
            default = [role for role in encoder.facts.adapted if role in encoder.roles]
            more = [role for role in encoder.roles if role not in default]
            told = [", ".join(f"`{role}`" for role in each) or "–" for each in (default, more)]
            lines.append(f"| `{kind}` | `{side}` | {ways} | {ways} | {told[0]} | {told[1]} |")
    halves = "as its halves"
    lines += [f"| `{stem.lower()}` | `name` | {ways} | {ways} | {halves} | {halves} |" for (stem,) in PAIRS]
    return "\n".join(lines)


def test_the_table_in_the_documentation_is_of_what_is_tested() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")
