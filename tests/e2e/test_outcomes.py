"""What a run keeps of single test examples: true to the results, shown in the report, and nothing where privacy is asked for."""

import base64
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from e2e.conftest import Command, rows
from fedtap.metrics.table import primary
from fedtap.network.network import Network
from fedtap.tasks import text_generation
from tiny_federation import CLIENTS, TASKS, UNSEEN

SHORT = ("--set", "rounds=1", "--set", "local_steps=1", "--set", "training.finetune_steps=1")


def kept(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text())["tasks"] for path in (run / "outcomes").iterdir()}


def test_outcomes_are_those_of_the_results(whole: Path) -> None:
    found = kept(whole)
    assert {client: set(tasks) for client, tasks in found.items()} == {c: set(t) for c, t in CLIENTS.items()}
    checked = 0
    for row in rows(whole):
        task = TASKS[row["task"]]
        own = row["split"] == ("unseen" if row["client"] == UNSEEN else "test")
        values = found[row["client"]][row["task"]]["values"].get(row["model"])
        if own and row["metric"] == primary(task["type"], task["modality"]) and values is not None:
            assert math.fsum(values) / len(values) == pytest.approx(row["value"], rel=1e-5)
            assert len(values) == row["n"]
            checked += 1
    assert checked >= 3 * 6


def test_shown_are_inputs_truths_and_what_every_model_answers(whole: Path) -> None:
    found = kept(whole)
    for tasks in found.values():
        for name, its in tasks.items():
            assert len(its["shown"]) == min(4, its["sizes"]["test"])
            for shown in its["shown"]:
                assert set(shown["answers"]) == set(its["values"])
                right = its["values"]["personal"][shown["place"]]
                if its["metric"] == "accuracy":
                    assert right == (shown["answers"]["personal"]["text"] == shown["truth"]["text"])
                if name == "mood":
                    assert ("fine" in shown["text"]) is (shown["truth"]["text"] == "glad")
    for shown in found["painter"]["redraw"]["shown"]:
        drawn, target = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(each["image"])))) / 127.5 - 1
            for each in (shown["answers"]["personal"], shown["truth"])
        )
        error = float(((drawn - target) ** 2).mean())
        assert error == pytest.approx(found["painter"]["redraw"]["values"]["personal"][shown["place"]], abs=0.02)


def test_the_report_has_an_example_of_every_task_with_its_pictures_and_the_sizes(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    for client, tasks in CLIENTS.items():
        for task in tasks:
            assert f"{client}, {task}: " in page
    assert page.count("data:image/png;base64,") >= 4 * 7  # 4 examples: 2 shades, 4 of redrawing, 1 question
    assert "6 of 6" in page
    assert "12 of 12" in page
    assert "on cpu" in page
    assert "../" not in page
    for client in CLIENTS:
        assert f'href="clients/{client}/personal/README.md"' in page


@pytest.mark.parametrize(
    ("setting", "files", "shown"),
    [("report.examples=0", 5, 0), ("privacy.blur_counts=5", 0, 0)],
    ids=["none", "privacy"],
)
def test_no_example_is_shown_where_none_is_asked_for_and_nothing_kept_under_privacy(
    setting: str, files: int, shown: int, scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    out = tmp_path / "run"
    assert fedtap("run", scenario, *SHORT, "--set", setting, "--out", out).code == 0
    found = kept(out) if files else {}
    assert (out / "outcomes").exists() is bool(files)
    assert len(found) == files
    assert all(its["shown"] == [] for tasks in found.values() for its in tasks.values())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "side by side" not in page
    assert "<img" not in page
    assert "film, number" not in page


def test_to_show_examples_no_model_is_run_again(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch, no_report: None
) -> None:
    done: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(Network, "forward", counted("forward", Network.forward))
    monkeypatch.setattr(text_generation, "generate", counted("generate", text_generation.generate))
    monkeypatch.setattr("fedtap.evaluation.evaluate.BATCH", 3)  # shown are examples of several batches
    counts = []
    for examples in (0, 4):
        done.clear()
        out = tmp_path / str(examples)
        assert fedtap("run", scenario, *SHORT, "--set", f"report.examples={examples}", "--out", out).code == 0
        counts.append((done.count("forward"), done.count("generate")))
    assert counts[0] == counts[1]
    assert min(counts[0]) > 0
    tests = [its for tasks in kept(tmp_path / "4").values() for its in tasks.values()]
    assert all(len(its["shown"]) == min(4, its["sizes"]["test"]) for its in tests)
    for its in tests:
        for each in its["shown"] if its["metric"] == "accuracy" else ():
            for model, answer in each["answers"].items():
                assert (answer["text"] == each["truth"]["text"]) == its["values"][model][each["place"]]
    assert (tmp_path / "0" / "results.json").read_bytes() == (tmp_path / "4" / "results.json").read_bytes()


def test_how_a_run_is_told_is_no_part_of_what_it_is(whole: Path, scenario: Path, fedtap: Command) -> None:
    before = (whole / "results.json").read_bytes()
    done = fedtap("run", scenario, "--set", "report.examples=7", "--out", whole, "--resume")
    assert done.code == 0, done.err
    assert (whole / "results.json").read_bytes() == before
