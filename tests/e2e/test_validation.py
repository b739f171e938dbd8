"""``evaluation.validation_every``: scores by round on clients' own validation data, and nothing else that changes."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import fedtap as library
from e2e.conftest import Command, cut_off, events, rows, same_end, untimed
from fedtap.algorithms.base import ByTask
from fedtap.components import ComponentState
from fedtap.data.loader import Pictures, TaskExamples
from fedtap.evaluation.validation import validation_rows
from fedtap.experiment.folder import RunFolder
from fedtap.experiment.setup import Simulation, set_up
from fedtap.federation.checkpoint import Checkpoint
from fedtap.reporting.run.told import check_events
from fedtap.scenario.scenario import load_scenario
from tiny_federation import CLIENTS, ROUNDS, TASKS, write_scenario

EVERY_SECOND = ("evaluation.validation_every=2",)
METRICS = {
    "mood": {"accuracy", "macro_f1", "cross_entropy"},
    "shade": {"accuracy", "macro_f1", "cross_entropy"},
    "redraw": {"mse", "psnr", "ssim"},
    "ask": {"cross_entropy", "perplexity", "exact_match", "chrf", "rouge_l"},
}


@pytest.fixture(scope="module")
def scored(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of tap with scores in every second round; it is not to be changed."""
    out = tmp_path_factory.mktemp("scored") / "run"
    library.run(scenario, out=out, overrides=EVERY_SECOND)
    return out


def without_scores(run: Path) -> list[dict[str, Any]]:
    return [event for event in untimed(events(run)) if event["event"] != "validation"]


def test_every_client_that_takes_part_is_scored_in_the_rounds_that_were_asked_for(scored: Path) -> None:
    told = events(scored, "validation")
    took_part = {(event["round"], event["client"]) for event in events(scored, "update")}
    assert [(event["round"], event["client"]) for event in told] == sorted(
        (number, client) for number, client in took_part if number in (2, ROUNDS)
    )
    for event in told:
        found = {(row["task"], row["model"], row["metric"]) for row in event["rows"]}
        assert len(found) == len(event["rows"])
        assert found == {
            (task, model, metric)
            for task in CLIENTS[event["client"]]
            for model in ("federated", "personal")
            for metric in METRICS[task]
        }
        for row in event["rows"]:
            assert (row["client"], row["split"]) == (event["client"], "validation")
            assert row["n"] > 0
            assert row["value"] is not None


def test_it_changes_nothing_else(scored: Path, whole: Path) -> None:
    assert rows(scored) == rows(whole)
    assert without_scores(scored) == untimed(events(whole))
    kept = sorted((whole / "clients").rglob("*.safetensors"))
    assert kept
    for path in kept:
        before, after = load_file(path), load_file(scored / path.relative_to(whole))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_off_a_run_is_described_as_before_there_was_such_a_key(scenario: Path, whole: Path, scored: Path) -> None:
    def described(run: Path) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((run / "run.json").read_text())
        return told

    off = load_scenario(scenario, ["evaluation.validation_every=0"])
    assert off.resolved() == load_scenario(scenario).resolved()
    before = {"cross_examples", "save", "text_metrics", "class_metrics", "bertscore_encoder"}
    assert set(off.resolved()["evaluation"]) == set(described(whole)["config"]["evaluation"]) == before
    assert described(scored)["config"]["evaluation"]["validation_every"] == 2
    assert described(scored)["kind"] != described(whole)["kind"]
    assert events(whole, "validation") == []


@pytest.mark.usefixtures("no_report")
def test_cut_off_among_the_scores_and_resumed_it_ends_as_the_whole_run(
    scenario: Path, scored: Path, tmp_path: Path
) -> None:
    out, again = tmp_path / "run", {"overrides": EVERY_SECOND, "resume": "auto"}
    first, *_, last = events(scored, "validation")
    for event in (first, last):
        cut_off(scenario, out, "validation", where={"round": event["round"], "client": event["client"]}, **again)
    with pytest.raises(library.UserError, match="validation_every"):  # another way of looking is another run
        library.run(scenario, out=out, resume=True)
    library.run(scenario, out=out, **again)
    same_end(out, scored)


@pytest.mark.usefixtures("no_report")
def test_two_workers_score_as_one_process_does(scenario: Path, scored: Path, tmp_path: Path) -> None:
    library.run(scenario, out=tmp_path / "run", overrides=EVERY_SECOND, workers=2)
    same_end(tmp_path / "run", scored)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a scenario of one client and two rounds, and the folder of a run that ended before anything was personalised.

    Of one client the mean is what it has sent: the server's checkpoint holds the slice that it has trained in the last round.
    """
    place = tmp_path_factory.mktemp("alone")
    clients = [{"id": "painter", "tasks": [{"name": task, **TASKS[task]} for task in ("shade", "redraw")]}]
    scenario = write_scenario(
        place, rounds=2, clients_per_round=1, clients=clients, evaluation={"validation_every": 1, "cross_examples": 2}
    )
    cut_off(scenario, place / "run", "personalising", where={"done": 0})
    return scenario, place / "run"


@pytest.fixture(scope="module")
def opened(alone: tuple[Path, Path]) -> tuple[Simulation, Mapping[str, ComponentState]]:
    """Return the network and the data of that run, and its models after the last round, as they lie on the disk."""
    scenario, out = alone
    folder = RunFolder.open(load_scenario(scenario), method=None, seed=0, out=out, resume=True, device="cpu")
    simulation = set_up(
        folder.scenario, folder.algorithm, seed=0, device="cpu", store=folder.store, tell=lambda event: None
    )
    checkpoint = Checkpoint.load(folder.checkpoint, folder.run, simulation.start.components)
    held = folder.store.load("painter", before=3)
    assert checkpoint is not None
    assert held is not None
    assert checkpoint.round == 2
    return simulation, {"federated": checkpoint.state.components, "personal": held.models["personal"]}


def right(output: torch.Tensor, examples: TaskExamples) -> float:
    """Return the share of examples whose class has the largest logit."""
    hits = [int(logits.argmax()) == int(label) for logits, label in zip(output, examples.target, strict=True)]
    return sum(hits) / len(hits)


def squared_error(output: torch.Tensor, examples: TaskExamples) -> float:
    """Return the mean over all pixels and colours, in numbers from -1 to 1; given are bytes."""
    assert isinstance(examples.target, Pictures)
    pictures = examples.target.take(range(len(examples)))
    return float(((output.double() - (pictures.double() / 127.5 - 1)) ** 2).mean())


@pytest.mark.parametrize("model", ["federated", "personal"])
@pytest.mark.parametrize(
    ("task", "metric", "by_hand"), [("shade", "accuracy", right), ("redraw", "mse", squared_error)]
)
def test_a_score_is_what_the_saved_state_gives_by_hand(
    model: str,
    task: str,
    metric: str,
    by_hand: Callable[[torch.Tensor, TaskExamples], float],
    alone: tuple[Path, Path],
    opened: tuple[Simulation, Mapping[str, ComponentState]],
) -> None:
    simulation, models = opened
    network = simulation.network
    examples = simulation.dataset.client_data("painter").tasks[task]["validation"]
    network.load(models[model])
    network.eval()
    with torch.no_grad():
        (batch,) = examples.batches(len(examples), network.device)
        (out,) = network(batch)
    told = {
        event["round"]: row["value"]
        for event in events(alone[1], "validation")
        for row in event["rows"]
        if (row["task"], row["model"], row["metric"]) == (task, model, metric)
    }
    assert set(told) == {1, 2}
    assert told[2] == pytest.approx(by_hand(out.output, examples), rel=1e-4)


def test_a_model_that_is_a_choice_among_others_has_their_rows(opened: tuple[Simulation, Mapping[str, Any]]) -> None:
    simulation, models = opened
    client = simulation.site.local("painter", 2)
    chosen = {"shade": "personal", "redraw": "federated"}
    found = validation_rows(client, {**models, "chosen": ByTask(chosen)}, text_metrics=(), class_metrics=())
    assert {row["model"] for row in found} == {*models, "chosen"}
    for row in found:
        if row["model"] == "chosen":
            assert {**row, "model": chosen[row["task"]]} in found


@pytest.mark.usefixtures("no_report")
def test_the_seconds_of_an_update_are_those_of_training(
    alone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any, **__: Any) -> list[dict[str, Any]]:
        time.sleep(4)
        return []

    monkeypatch.setattr("fedtap.experiment.site.validation_rows", slow)
    cut_off(alone[0], tmp_path / "run", "round_finished", where={"round": 1})
    (told,) = events(tmp_path / "run", "update")
    assert told["seconds"] < 4


def test_an_event_of_it_that_no_run_writes_is_refused(tmp_path: Path) -> None:
    row = {"client": "a", "task": "t", "model": "personal", "split": "validation", "metric": "mse", "value": "low"}
    with pytest.raises(library.UserError, match=r"line 1: 'rows\.0\.value'"):
        check_events([{"event": "validation", "round": 1, "client": "a", "rows": [row]}], tmp_path / "events.jsonl")


def test_the_report_shows_it_family_by_family(scored: Path, whole: Path) -> None:
    page = (scored / "report.html").read_text(encoding="utf-8")
    assert "Validation by round" in page
    assert "Mean accuracy of text classification on clients&#39; validation data per round, by model: federated" in page
    assert "Validation by round" not in (whole / "report.html").read_text(encoding="utf-8")


def test_a_table_for_python_holds_every_number(scored: Path, whole: Path) -> None:
    pytest.importorskip("pandas", reason="the extra pandas")
    table = library.RunResult.open(scored).validation
    assert list(table.columns) == ["round", "client", "task", "family", "model", "metric", "value", "n"]
    told = [(event, row) for event in events(scored, "validation") for row in event["rows"]]
    assert len(told) > 0
    assert [dict(row) for row in table.to_dict("records")] == [
        {"round": event["round"], **{key: row[key] for key in list(table.columns)[1:]}} for event, row in told
    ]
    none = library.RunResult.open(whole).validation
    assert (len(none), list(none.columns)) == (0, list(table.columns))


@pytest.mark.parametrize(
    "setting", ["privacy.local={}", "privacy.central={}", "privacy.secure={}", "privacy.blur_counts=5"]
)
def test_it_goes_with_no_privacy(setting: str, scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    refused = fedtap("run", scenario, "--out", tmp_path / "run", "--set", *EVERY_SECOND, "--set", setting)
    assert refused.code == 2
    assert "evaluation.validation_every and the section privacy do not go together" in refused.err
    assert not (tmp_path / "run").exists()


def test_over_machines_it_is_refused_at_the_server_and_at_a_node(
    scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    pytest.importorskip("flwr", reason="the extra flower")
    from fedtap.deployment.node import NodeSettings, read_node, write_node
    from fedtap.deployment.remote import RemoteSite
    from fedtap.deployment.run_config import RunConfig
    from fedtap.federation.messages import Request

    refused = fedtap("run", scenario, "--out", tmp_path / "run", "--engine", "flower", "--set", *EVERY_SECOND)
    assert refused.code == 2
    assert "evaluation.validation_every: what models score on validation data stays with clients" in refused.err
    write_node(
        tmp_path, NodeSettings(client="reader", data={"mood": {"path": str(scenario.parent / TASKS["mood"]["path"])}})
    )
    config = RunConfig(seed=0, method=None, overrides=EVERY_SECOND)
    site = RemoteSite(read_node(tmp_path), scenario, config, "0" * 32)
    with pytest.raises(library.UserError, match="stays with clients that are on machines of their own"):
        site.answer(Request("reader", 1, "train", ComponentState()))
