"""A made-up run's folder: everything that the report reads, without any training."""

import base64
import io
import json
import math
import random
from pathlib import Path
from typing import Any

from PIL import Image

from fedtap.runtime.sealed import write_sealed_json

KINDS = (
    ("digits", "classification", "image"),
    ("sentiment", "classification", "text"),
    ("shapes", "reconstruction", "image"),
    ("vqa", "text_generation", "image+text"),
    ("trivia", "text_generation", "text"),
)
METRIC = {
    "digits": "accuracy",
    "sentiment": "accuracy",
    "shapes": "mse",
    "vqa": "exact_match",
    "trivia": "cross_entropy",
}
BASELINE = {
    "digits": ("majority", 0.14),
    "sentiment": ("majority", 0.56),
    "shapes": ("mean_picture", 0.09),
    "vqa": ("question_only", 0.61),
    "trivia": ("unigram", 5.2),
}
FAMILY = {
    "digits": "image_classification",
    "sentiment": "text_classification",
    "shapes": "image_generation",
    "vqa": "text_generation",
    "trivia": "text_generation",
}


def config(clients: int = 6, unseen: int = 1, rounds: int = 8) -> dict[str, Any]:
    """Return a resolved scenario; every third client has two tasks."""
    settings = []
    for number in range(clients + unseen):
        names = [KINDS[number % 5]] + ([KINDS[(number + 1) % 5]] if number % 3 == 2 else [])
        tasks = [
            {"name": name, "type": kind, "modality": modality, "domain": name, "source": "made_up", "head": None}
            for name, kind, modality in names
        ]
        settings.append({"id": f"c{number}", "tasks": tasks, "unseen": number >= clients})
    return {
        "name": "synthetic",
        "about": "A made-up federation",
        "rounds": rounds,
        "clients_per_round": 4,
        "clients": settings,
    }


def write_run(
    folder: Path,
    *,
    clients: int = 6,
    rounds: int = 8,
    method: str = "tap",
    decisions: bool = True,
    finished: bool = True,
    about: str = "A made-up federation",
    outcomes: int | None = None,
) -> Path:
    """Write run.json, events.jsonl and, where finished, results.json and cost.json.

    With ``outcomes`` those of single examples are kept too, and so many examples of each client's task are shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    scenario = {**config(clients, rounds=rounds), "about": about}
    _write(
        folder / "run.json",
        {
            "schema": 1,
            "fedtap": "0.1.0",
            "scenario": "scenarios/synthetic.yaml",
            "method": method,
            "seed": 3,
            "config": scenario,
            "environment": {"python": "3.11.7", "torch": "2.13.0", "threads": 2, "resolved_device": "cpu"},
            **({} if outcomes is None else {"kind": KIND, "deployed": "personal"}),
        },
    )
    events = _events(scenario, draw, decisions=decisions, rounds=rounds if finished else rounds // 2)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if finished:
        rows = _rows(scenario, draw)
        _write(folder / "results.json", {"schema": 1, "method": method, "seed": 3, "rows": rows})
        if outcomes is not None:
            _write_outcomes(folder, rows, outcomes)
        sums = {key: sum(event.get(key, 0) for event in events) for key in ("bytes_down", "bytes_up")}
        phases = {"encoding": 33.0, "rounds": 144.0, "personalising": 41.0, "evaluating": 22.5}
        _write(
            folder / "cost.json",
            {**sums, "seconds": 243.7, "peak_rss_bytes": 1_400_000_000, "steps_total": 640, "by_phase": phases},
        )
    return folder


def _events(scenario: dict[str, Any], draw: random.Random, *, decisions: bool, rounds: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    participants = [client for client in scenario["clients"] if not client["unseen"]]
    seen: set[str] = set()
    now = 1000.0

    def add(event: str, number: int, **more: Any) -> None:
        nonlocal now
        now += draw.uniform(0.5, 2.5)
        events.append({"event": event, "round": number, "time": now, **more})

    for number in range(1, rounds + 1):
        add("round_started", number)
        for client in sorted(draw.sample(participants, min(4, len(participants))), key=lambda c: c["id"]):
            tasks = [task["name"] for task in client["tasks"]]
            losses = {task: 2.5 * math.exp(-0.15 * number) + draw.uniform(0, 0.3) for task in tasks}
            beside = {task: loss * draw.uniform(0.8, 1.2) for task, loss in losses.items()} if decisions else {}
            for task in tasks if decisions else []:
                first = client["id"] not in seen
                replaced = first or losses[task] + 0.01 < beside[task]
                add(
                    "decision", number, client=client["id"], task=task, kind="replace", rule="margin: 0.01",
                    outcome="replaced" if replaced else "kept", federated_loss=losses[task],
                    personal_loss=None if first else beside[task],
                )  # fmt: skip
            seen.add(client["id"])
            add(
                "update", number, client=client["id"], examples=128, losses=losses, personal_losses=beside, seconds=2.0,
                bytes_down=1_500_000 + 1000 * number, bytes_up=1_500_000, components=12,
            )  # fmt: skip
        add("round_finished", number)
    if decisions and rounds == scenario["rounds"]:
        for client in participants:
            for task in client["tasks"]:
                before, after = draw.uniform(0.5, 1), draw.uniform(0.45, 1)
                add(
                    "decision", rounds, client=client["id"], task=task["name"], kind="distil", rule="guard",
                    outcome="kept" if after <= before else "reverted", federated_loss=after, personal_loss=before,
                )  # fmt: skip
    if rounds == scenario["rounds"]:
        add("finished", rounds)
    return events


def _rows(scenario: dict[str, Any], draw: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(client: str, task: str, model: str, split: str, metric: str, value: float) -> None:
        rows.append(
            {
                "client": client, "task": task, "family": FAMILY[task], "model": model, "split": split,
                "metric": metric, "value": value, "n": 128,
            }
        )  # fmt: skip

    for client in scenario["clients"]:
        split = "unseen" if client["unseen"] else "test"
        for task in (task["name"] for task in client["tasks"]):
            metric, (name, level) = METRIC[task], BASELINE[task]
            add(client["id"], task, name, split, metric, level)
            better = 1.3 if metric in ("accuracy", "exact_match") else 0.75
            for model in ("federated", "finetuned", "personal"):
                add(
                    client["id"],
                    task,
                    model,
                    split,
                    metric,
                    min(0.98, level * better) * draw.uniform(0.8, 1.1)
                    if level < 1
                    else level * draw.uniform(0.7, 1.05),
                )
                if metric != "mse":
                    add(
                        client["id"],
                        task,
                        model,
                        split,
                        "cross_entropy" if metric != "cross_entropy" else "chrf",
                        draw.uniform(0.3, 2),
                    )
            if split == "test":
                add(client["id"], task, "personal", "cross", metric, level * draw.uniform(0.9, 1.2))
    return rows


KIND = "made up"


def write_outcomes(folder: Path, client: str, tasks: dict[str, Any]) -> Path:
    """Write what is kept of a client's test, with a right seal."""
    path = folder / "outcomes" / f"{client}.json"
    write_sealed_json(path, {"schema": 1, "tasks": tasks}, {"what": "outcomes", "kind": KIND, "client": client})
    return path


def png(shade: int, size: int = 64) -> str:
    """Return a picture of one grey with a stripe, as a PNG file in base64."""
    image = Image.new("RGB", (size, size), (shade,) * 3)
    image.paste((255 - shade,) * 3, (size // 2, 0, size // 2 + 8, size))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _write_outcomes(folder: Path, rows: list[dict[str, Any]], shown: int) -> None:
    draw = random.Random(1)
    by_client: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["metric"] != METRIC[row["task"]] or row["split"] == "cross" or row["model"] == BASELINE[row["task"]][0]:
            continue
        kept = by_client.setdefault(row["client"], {}).setdefault(
            row["task"],
            {
                "metric": row["metric"],
                "sizes": {"train": 120, "validation": 48, "test": 128},
                "values": {},
                "shown": [],
            },
        )
        right = round(row["value"] * 128)
        if row["metric"] in ("accuracy", "exact_match"):
            values = [1.0] * right + [0.0] * (128 - right)
        else:
            values = [max(0.0, row["value"] * draw.uniform(0.5, 1.5)) for _ in range(128)]
        kept["values"][row["model"]] = draw.sample(values, 128)
    for client, tasks in by_client.items():
        for task, kept in tasks.items():
            for place in range(shown):
                kept["shown"].append(_shown(task, place, list(kept["values"])))
        write_outcomes(folder, client, tasks)


def _shown(task: str, place: int, models: list[str]) -> dict[str, Any]:
    kind, modality = next((kind, modality) for name, kind, modality in KINDS if name == task)
    picture = png(40 + 50 * place % 200) if "image" in modality else None
    text = f"Example {place} of {task}" if "text" in modality else None
    answers: dict[str, Any] = {}
    for number, model in enumerate(models):
        if kind == "reconstruction":
            answers[model] = {"image": png(60 + 40 * number)}
        else:
            answers[model] = {"text": f"answer {number}", **({"share": 0.75} if kind == "classification" else {})}
    truth = {"image": picture} if kind == "reconstruction" else {"text": "answer 0"}
    return {"place": place, "text": text, "image": picture, "truth": truth, "answers": answers}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
