"""From the built wheel in an empty folder to answers of models that were moved elsewhere, with their data and their run deleted.

What of this needs no wheel, the faster tests hold: tests/cli/test_new.py and tests/models/test_personal_model.py.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("hatchling", reason="what builds the wheel")

ROOT = Path(__file__).parents[2]
DATA = {"notes": "clinic/notes.csv", "cells": "lab/cells"}
"""Where the data of each site lie, by the name that `fedtap new` gives it."""
SHORT = ("rounds=2", "local_steps=2", "training.finetune_steps=2")
ASK = """
import json, sys
import fedtap
answers = {"fedtap": fedtap.__file__}
for place, given in json.loads(sys.argv[1]).items():
    model = fedtap.PersonalModel.from_pretrained(place)
    answers[model.client] = [output["probabilities"] for _, output in model.predict_many(given)]
print(json.dumps(answers))
"""


class Shell:
    """Runs commands of one environment in one folder, and prints them and what they say, for ``pytest -s``."""

    def __init__(self, environment: Path, folder: Path, variables: Mapping[str, str]) -> None:
        self.commands = environment / "bin"
        self._folder, self._variables = folder, variables

    def __call__(self, command: str, *arguments: object, folder: Path | None = None) -> str:
        words = [str(self.commands / command), *map(str, arguments)]
        done = subprocess.run(
            words, cwd=folder or self._folder, env=self._variables, capture_output=True, text=True, check=False
        )
        shown = [word if "\n" not in word else "ASK" for word in words[1:]]
        print(f"$ {command} {' '.join(shown)}\n{done.stdout}")
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Build the wheel from the sources."""
    place = tmp_path / "dist"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = place.iterdir()
    return found


@pytest.fixture
def shell(wheel: Path, tmp_path: Path) -> Shell:
    """Install the wheel into an environment of its own, beside the packages that are installed here: no network is needed."""
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    venv.create(environment, with_pip=True, symlinks=True)
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FEDTAP", "VIRTUAL"))
    }
    variables |= {
        "FEDTAP_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONNOUSERSITE": "1",
        "COLUMNS": "120",
    }
    shell = Shell(environment, folder, variables)
    shell("python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Named in a .pth file they come after the wheel, and the .pth file of an editable fedtap among them is not read.
    others = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    return shell


def write_own_data(folder: Path) -> None:
    """Write ten rows of CSV at one site, and ten pictures at another."""
    (folder / "clinic").mkdir(parents=True)
    with (folder / DATA["notes"]).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["note", "urgency"])
        table.writerows([f"the patient came back, visit {i}", ("urgent", "routine")[i % 2]] for i in range(10))
    draw = np.random.default_rng(0)
    for i in range(10):
        path = folder / DATA["cells"] / ("sick", "well")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((draw.integers(0, 100, (48, 48, 3)) + 150 * (i % 2)).astype(np.uint8)).save(path)


@pytest.mark.slow
@pytest.mark.thorough
def test_the_wheel_leads_from_ten_rows_and_ten_pictures_to_answers_elsewhere(shell: Shell, tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "empty", tmp_path / "elsewhere"
    write_own_data(home)
    shell("fedtap", "new", "study", "--from", *DATA.values())
    shell("fedtap", "scenario", "check", "study/scenario.yaml")
    settings = [word for setting in SHORT for word in ("--set", setting)]
    shell("fedtap", "run", "study/scenario.yaml", "--out", "run", *settings)
    for client in DATA:
        shell("fedtap", "export", "run", "--client", client, "--to", f"models/{client}")

    new = [{"text": f"they were seen again, number {i}"} for i in range(10)]
    pictures = elsewhere / "pictures"
    pictures.mkdir(parents=True)
    for path in sorted((home / DATA["cells"]).rglob("*.png")):
        shutil.copy(path, pictures)

    def asked(places: Path) -> dict[str, Any]:
        given = {str(places / "notes"): new, str(places / "cells"): str(pictures)}
        answers: dict[str, Any] = json.loads(shell("python", "-c", ASK, json.dumps(given), folder=elsewhere))
        assert Path(answers.pop("fedtap")).is_relative_to(
            shell.commands.parent
        )  # it is the wheel's, not the checkout's
        return answers

    before = asked(home / "models")
    shutil.move(home / "models", elsewhere / "brought")
    shutil.rmtree(home)
    shutil.rmtree(tmp_path / "cache")
    after = asked(elsewhere / "brought")

    assert after.keys() == before.keys() == DATA.keys()
    farthest = 0.0
    for client, answers in before.items():
        assert len(answers) == len(after[client]) == 10
        assert len({tuple(answer.values()) for answer in answers}) > 1  # it does look at what it is given
        for mine, theirs in zip(answers, after[client], strict=True):
            assert mine.keys() == theirs.keys() == ({"urgent", "routine"} if client == "notes" else {"sick", "well"})
            farthest = max([farthest, *(abs(mine[label] - theirs[label]) for label in mine)])
    print(f"farthest apart: {farthest:g}")
    assert farthest <= 1e-6
