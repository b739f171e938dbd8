"""Whole runs of every method: the same bytes, cut off and resumed or not; on every architecture; and asked for an answer."""

import json
import math
from pathlib import Path

import pytest
from safetensors import safe_open

import fedtap as package
from e2e.conftest import Command, cut_off, events, rows, same_end
from fedtap.algorithms.registry import algorithms
from fedtap.data.partition import partition
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.runtime.sealed import write_sealed_json
from fedtap.scenario.scenario import load_scenario
from tiers import thorough_but
from tiny_federation import MOODS, TASKS, write_scenario

pytestmark = pytest.mark.usefixtures("no_report")

METHODS = sorted(algorithms())
OFTEN = ("apfl", "clustered", "fedalt", "fedavg_ft", "fedhca2", "flow", "tap", "tap_best")
"""What `make test` resumes, unlike each other in what they keep and send; `make test-thorough` resumes every method."""
NETWORK = {"dim": 8, "heads": 2, "expert_dim": 8, "domain_dim": 4, "answer_tokens": 4, "lora_rank": 2}
CLIENTS = {"reader": ("mood",), "all": ("mood", "shade", "ask"), "newcomer": ("shade",)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scenario of two rounds: one client with a task, one with three, and one held out."""
    clients = [
        {"id": id, "tasks": [{"name": task, **TASKS[task]} for task in tasks], "unseen": id == "newcomer"}
        for id, tasks in CLIENTS.items()
    ]
    return write_scenario(
        tmp_path_factory.mktemp("small"),
        rounds=2,
        network=NETWORK,
        clients=clients,
        data={"train": 8, "validation": 4, "test": 4},
        evaluation={"cross_examples": 2, "save": "all", "validation_every": 1},
    )


@pytest.mark.parametrize("method", thorough_but(OFTEN, METHODS, pytest.mark.slow))
def test_cut_off_after_a_round_and_resumed_it_ends_in_the_same_bytes(method: str, small: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "cut"
    results = package.run(small, method=method, out=whole)
    assert events(whole, "failed", "rejected") == []
    scored = {(told["round"], told["client"]) for told in events(whole, "validation") if told["rows"]}
    assert scored == {(number, client) for number in (1, 2) for client in ("reader", "all")}
    again = {"method": method, "resume": "auto"}
    cut_off(
        small, out, "update", where={"round": 2, "client": "reader"}, **again
    )  # round 1 is on the disk, half of round 2 is not
    cut_off(small, out, "personalised", where={"client": "reader"}, **again)
    assert package.run(small, method=method, out=out, resume="auto") == results
    same_end(out, whole)
    server = "checkpoint/server.safetensors"
    assert state_of(out / server) == state_of(whole / server)


CLOCKED = ("seconds", "events", "events_sha256")
"""What a checkpoint notes that a clock had a part in."""


def state_of(path: Path) -> dict[str, bytes]:
    """Return a checkpoint's tensors and what it notes beside them, but the seconds that its work took."""
    with safe_open(path, framework="pt") as file:
        notes = json.loads(file.metadata()["seal"])["facts"]
        tensors = {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118
    return tensors | {"": json.dumps({key: notes[key] for key in sorted(notes) if key not in CLOCKED}).encode()}


GROUNDS = [
    (method, name)
    for method, name in [
        *(("fedavg", name) for name in sorted(ARCHITECTURES)),
        ("fedavg_ft", "plain"),
        ("local", "plain"),
        ("tap", "plain"),
        ("ditto", "plain"),
        ("fedper", "plain"),
    ]
    if method in METHODS
]


@pytest.mark.parametrize(("method", "name"), GROUNDS)
def test_a_method_trains_the_architecture_that_the_scenario_names(
    method: str, name: str, small: Path, tmp_path: Path
) -> None:
    package.run(small, method=method, out=tmp_path / "run", overrides=[f"network.name={name}"])
    assert events(tmp_path / "run", "failed", "rejected") == []
    kind = algorithms()[method]
    tasks = {(row["client"], row["task"]) for row in rows(tmp_path / "run") if row["model"] == kind.deployed}
    asked = {(client, task) for client, names in CLIENTS.items() for task in names}
    # a probe has an answer to classification only
    assert tasks == {(client, task) for client, task in asked if name != "probe" or task != "ask"}


@pytest.mark.parametrize("adaptation", ["full", "lora"])
@pytest.mark.parametrize("name", ["experts", "plain"])
def test_a_saved_model_answers_as_it_did_in_its_run(name: str, adaptation: str, small: Path, tmp_path: Path) -> None:
    """Whatever the run's seed: with ``lora`` the frozen layers follow from it, and are not among what is saved."""
    settings = [f"network.name={name}", f"network.adaptation={adaptation}", "local_steps=6", "training.lr=0.05"]
    package.run(small, method="fedavg_ft", seed=5, out=tmp_path / "run", overrides=settings)
    losses = []
    for example in partition(load_scenario(small, settings), 5)["reader"]["mood"].test:
        answer = package.predict(tmp_path / "run", client="reader", task="mood", text=example.text, model="finetuned")
        losses.append(-math.log(answer["output"]["probabilities"][MOODS[int(example.target)]]))
    (row,) = (
        row
        for row in rows(tmp_path / "run")
        if (row["client"], row["model"], row["split"], row["metric"])
        == ("reader", "finetuned", "test", "cross_entropy")
    )
    assert sum(losses) / len(losses) == pytest.approx(row["value"], abs=1e-4)
    assert abs(row["value"] - math.log(2)) > 0.01  # it has learned something that could be lost


def test_a_run_that_lost_its_seed_is_asked_nothing(small: Path, tmp_path: Path, fedtap: Command) -> None:
    package.run(small, method="fedavg", out=tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    told = json.loads(record.read_text())
    del told["digest"], told["seed"]
    write_sealed_json(record, told, told.pop("of"))  # whole, as by another version that knew no seed
    asked = fedtap("predict", tmp_path / "run", "--client", "reader", "--task", "mood", "--text", "fine")
    assert asked.code == 2
    assert "run.json: 'seed' is missing, or not what a run writes; restore" in asked.err
