"""``fedtap run`` on a federation small enough for a test: what it writes, what it says, and that it can be taken up again."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import fedtap as library
from fedtap.reporting.progress.round_summary import RoundSummary
from fedtap.reporting.progress.run import LiveProgress, PlainProgress
from tiny_federation import called

EVENTS = [
    {"event": "encoding", "tower": "vision", "done": 10, "total": 20},
    {"event": "encoding", "tower": "vision", "done": 20, "total": 20},
    {"event": "round_started", "round": 1},
    {
        "event": "update",
        "client": "a",
        "losses": {"t": 1.0},
        "personal_losses": {"t": 0.5},
        "bytes_down": 1500,
        "bytes_up": 500,
    },
    {"event": "update", "client": "b", "losses": {"t": 3.0}, "personal_losses": {}, "bytes_down": 500, "bytes_up": 500},
    {"event": "decision", "kind": "replace", "client": "a", "task": "t", "outcome": "replaced", "personal_loss": None},
    {"event": "decision", "kind": "replace", "client": "b", "task": "t", "outcome": "replaced", "personal_loss": 2.0},
    {"event": "decision", "kind": "replace", "client": "b", "task": "u", "outcome": "kept", "personal_loss": 2.0},
    {"event": "failed", "client": "c", "why": "gone"},
    {"event": "round_finished", "round": 1},
    {"event": "personalising", "done": 2, "total": 2},
    {"event": "evaluating", "done": 1, "total": 2},
]
LINE = "federated loss 2.000  personal loss 0.500  replaced 1/2  down 2.0 kB, up 1.0 kB  1 lost"


def test_a_run_leaves_its_folder_and_says_where(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert called("run", scenario, "--out", out, "--seed", "4") == 0
    said = capsys.readouterr()
    results = json.loads((out / "results.json").read_text())
    assert results["seed"] == 4
    values = [
        row["value"]
        for row in results["rows"]
        if (row["split"], row["metric"], row["model"]) == ("test", "accuracy", "personal")
    ]
    assert len(values) == 2
    assert f"{sum(values) / 2:.3f}" in said.out
    assert f"Report: {out / 'report.html'}" in said.out
    assert (out / "report.html").is_file()
    assert "round 1/2" in said.err
    assert "round 2/2" in said.err
    assert "evaluating clients: 2 done" in said.err
    opened = library.RunResult.open(out)
    assert opened == results
    assert opened.rounds["clients"].tolist() == [2, 2]
    assert opened.personal(opened.clients[0]).client == opened.clients[0]
    assert called("run", scenario, "--out", out, "--seed", "4") == 2
    assert "--resume" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_to_the_same_results(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert called("run", scenario, "--out", whole) == 0
    real = library.run

    def interrupted(*arguments, observers, **options):
        def stop(event):
            if event["event"] == "round_started" and event["round"] == 2:
                raise KeyboardInterrupt

        return real(*arguments, observers=[*observers, stop], **options)

    monkeypatch.setattr(library, "run", interrupted)
    capsys.readouterr()
    assert called("run", scenario, "--out", halves) == 130
    assert f"--out {halves} --resume" in capsys.readouterr().err
    monkeypatch.setattr(library, "run", real)
    assert called("run", scenario, "--out", halves, "--resume") == 0
    assert (halves / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_without_out_the_folder_is_named_after_what_was_run(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def run(loaded, **options):
        given.update(options, rounds=loaded.rounds)
        return {"rows": []}

    monkeypatch.setattr(library, "run", run)
    assert called("run", scenario, "-m", "fedavg", "--seed", "3", "--set", "rounds=9", "--device", "cpu") == 0
    assert given["out"] == Path("runs/tiny-fedavg-seed3")
    assert (given["rounds"], given["method"], given["seed"], given["device"], given["resume"]) == (
        9,
        "fedavg",
        3,
        "cpu",
        False,
    )


def test_the_tally_adds_up_a_round() -> None:
    tally = RoundSummary()
    for event in EVENTS[3:9]:
        tally.add(event)
    assert tally.line() == LINE


def test_plain_progress_is_a_line_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    ticks = iter([10.0, 14.0])
    with PlainProgress(3, Console(file=written, width=300), clock=lambda: next(ticks)) as watch:
        for event in EVENTS:
            watch(event)
    assert written.getvalue().splitlines() == [
        "encoded 20 examples (vision)",
        "c: failed: gone",
        f"round 1/3  {LINE}  4.0 s  about 8.0 s of rounds left",
        "personalising clients: 2 done",
    ]


def test_live_progress_has_a_bar_a_stage_and_a_line_on_the_round() -> None:
    written = io.StringIO()
    console = Console(file=written, width=300, force_terminal=True, color_system=None)
    with LiveProgress(3, console) as watch:
        for event in EVENTS:
            watch(event)
    assert "c: failed: gone" in written.getvalue()
    last = written.getvalue().rpartition("encoding (vision)")[2]
    assert "20/20" in last
    for expected in ("rounds", "1/3", "personalising clients", "2/2", "evaluating clients", "1/2", f"round 1: {LINE}"):
        assert expected in last, expected


@pytest.mark.slow
def test_the_quickstart_shortened_runs_on_its_real_data_and_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quickstart = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"
    out = tmp_path / "out"
    few = ("data.train=16", "data.validation=8", "data.test=8", "evaluation.cross_examples=4")
    short = ("rounds=1", "local_steps=1", "training.finetune_steps=1", *few)
    assert called("run", quickstart, "--out", out, *(part for each in short for part in ("--set", each))) == 0
    config = json.loads((out / "run.json").read_text())["config"]
    rows = json.loads((out / "results.json").read_text())["rows"]
    asked = {(client["id"], task["name"]) for client in config["clients"] for task in client["tasks"]}
    for model in ("federated", "finetuned", "personal"):
        own = {(row["client"], row["task"]) for row in rows if row["model"] == model and row["split"] != "cross"}
        assert own == asked
    for client in config["clients"]:
        assert (out / "clients" / client["id"] / "personal" / "model.safetensors").is_file()
    said = capsys.readouterr().out
    for family in ("image classification", "image generation", "text classification", "text generation"):
        assert family in said
