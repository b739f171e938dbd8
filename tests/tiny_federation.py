"""A scenario file on the user's own data (a CSV table, a folder of pictures, JSON lines), small enough for whole runs in a test.

Four clients, two of them with two tasks, one more held out; three rounds with two clients each.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fedtap.cli import main

MOODS = ("sad", "glad")
SHAPES = ("dark", "light")
TASKS: dict[str, dict[str, Any]] = {
    "mood": {
        "type": "classification",
        "modality": "text",
        "domain": "films",
        "source": "csv",
        "path": "data/films.csv",
        "columns": {"text": "sentence", "label": "mood"},
        "classes": list(MOODS),
    },
    "shade": {
        "type": "classification",
        "modality": "image",
        "domain": "pictures",
        "source": "folder",
        "path": "data/pictures",
        "classes": list(SHAPES),
    },
    "redraw": {
        "type": "reconstruction",
        "modality": "image",
        "domain": "pictures",
        "source": "folder",
        "path": "data/pictures",
    },
    "ask": {
        "type": "text_generation",
        "modality": "image+text",
        "domain": "questions",
        "source": "jsonl",
        "path": "data/questions.jsonl",
    },
}
CLIENTS: dict[str, tuple[str, ...]] = {
    "reader": ("mood",),
    "painter": ("shade", "redraw"),
    "asker": ("ask",),
    "both": ("mood", "shade"),
    "newcomer": ("mood",),
}
UNSEEN = "newcomer"
ROUNDS, LOCAL_STEPS, FINISH_STEPS = 3, 2, 2
METHODS: dict[str, tuple[str, ...]] = {
    "local": ("--method", "local"),
    "probe": ("--method", "probe"),
    "fedavg": ("--method", "fedavg"),
    "fedavg_ft": ("--method", "fedavg_ft"),
    "tap": ("--method", "tap"),
    "tap, paired gate": ("--set", "method.gate=paired"),
    "tap, exclusive scope": ("--set", "method.scope=exclusive"),
    "tap, the paper's compute": ("--set", "method.compute=paper"),
    "shared tap, soft": ("--set", "method.personal=shared", "--set", "method.replace=soft"),
    "shared tap, average": tuple(
        part
        for setting in ("personal=shared", "replace=average", "mix=end", "distil=off")
        for part in ("--set", f"method.{setting}")
    ),
}
"""What to add to `fedtap run` for every method and every way of tap."""


def settings(**changes: Any) -> dict[str, Any]:
    """Return the scenario as plain values, some top-level keys changed."""
    clients = [
        {"id": id, "tasks": [{"name": task, **TASKS[task]} for task in tasks], "unseen": id == UNSEEN}
        for id, tasks in CLIENTS.items()
    ]
    return {
        "rounds": ROUNDS,
        "clients_per_round": 2,
        "local_steps": LOCAL_STEPS,
        "batch_size": 6,
        # four tokens a picture: with one alone there would be nothing to attend to, and no gradient for queries and keys
        "backbone": {"vision": "untrained-tiny", "text": "untrained-tiny", "image_size": 64, "text_tokens": 8},
        "network": {"dim": 8, "heads": 2, "expert_dim": 8, "domain_dim": 4, "answer_tokens": 4},
        "training": {
            "lr": 0.01,
            "warmup_rounds": 1,
            "finetune_steps": FINISH_STEPS,
            "finetune_lr": 0.005,
            "select_every": 1,
        },
        "data": {"train": 12, "validation": 6, "test": 6},
        "evaluation": {"cross_examples": 8},
        "clients": clients,
    } | changes


def write_scenario(folder: Path, name: str = "tiny.yaml", **changes: Any) -> Path:
    """Write the scenario into a folder, with its data beside it where they are not there yet; return the file."""
    if not (folder / "data").exists():
        write_data(folder / "data")
    path = folder / name
    path.write_text(yaml.safe_dump(settings(**changes), sort_keys=False), encoding="utf-8")
    return path


def write_data(folder: Path) -> None:
    """Write 90 sentences, 60 pictures of 32 x 32 pixels and 60 questions about them."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "films.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sentence", "mood"])
        for i in range(90):
            table.writerow([f"{('a poor', 'a fine')[i % 2]} film, number {i}", MOODS[i % 2]])
    questions = []
    for i in range(60):
        shade = i % 2
        place = folder / "pictures" / SHAPES[shade] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 110, (32, 32, 3)) + 140 * shade
        Image.fromarray(pixels.astype(np.uint8)).save(place)
        file = place.relative_to(folder).as_posix()
        questions.append({"image": file, "text": "is it dark", "target": ("yes", "no")[shade]})
    lines = "\n".join(json.dumps(question) for question in questions)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")


def called(*arguments: object) -> int:
    """Return the exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)
