"""The same command gives the same results.json, byte for byte; a run's folder is never written over."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import Command, events, rows, snapshot
from tiers import thorough_but
from tiny_federation import CLIENTS, LOCAL_STEPS, METHODS, ROUNDS, UNSEEN, write_scenario

OFTEN = ("local", "fedavg_ft", "tap", "tap, paired gate", "shared tap, average")
"""What `make test` runs twice; `make test-thorough` the others."""


@pytest.mark.parametrize("method", thorough_but(OFTEN, METHODS))
def test_the_same_command_gives_the_same_results(
    method: str, scenario: Path, finished: Callable[[str], Path], tmp_path: Path, fedtap: Command, no_report: None
) -> None:
    first, again = finished(method), tmp_path / "again"
    done = fedtap("run", scenario, *METHODS[method], "--out", again)
    assert done.code == 0, done.err
    assert (again / "results.json").read_bytes() == (first / "results.json").read_bytes()
    saved = {name: data for name, data in snapshot(first / "clients").items() if name.endswith(".safetensors")}
    assert saved == {name: (again / "clients" / name).read_bytes() for name in saved}
    assert len(saved) == (4 if method == "probe" else 5)  # for the probe, "asker" has nothing to classify


def test_another_seed_gives_other_results(scenario: Path, whole: Path, tmp_path: Path, fedtap: Command) -> None:
    assert fedtap("run", scenario, "--seed", 1, "--out", tmp_path / "run").code == 0
    assert rows(tmp_path / "run") != rows(whole)


def test_every_client_has_rows_for_every_task_of_every_model(whole: Path) -> None:
    found = {(row["client"], row["task"], row["model"], row["split"]) for row in rows(whole)}
    for client, tasks in CLIENTS.items():
        for task in tasks:
            for model in ("federated", "finetuned", "personal"):
                assert (client, task, model, "unseen" if client == UNSEEN else "test") in found
    assert {row["split"] for row in rows(whole) if row["client"] == UNSEEN} == {"unseen", "cross"}


def test_the_log_tells_every_round_once(whole: Path) -> None:
    assert [event["round"] for event in events(whole, "round_started")] == [1, 2, 3]
    assert [event["round"] for event in events(whole, "round_finished")] == [1, 2, 3]
    assert len(events(whole, "update")) == 2 * ROUNDS
    assert [event["client"] for event in events(whole, "personalised")] == list(CLIENTS)
    assert [event["event"] for event in events(whole)][-1] == "finished"


def test_a_finished_run_is_not_written_over(scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    out = tmp_path / "run"
    assert fedtap("run", scenario, "-m", "probe", "--out", out).code == 0
    before = snapshot(out)
    again = fedtap("run", scenario, "-m", "probe", "--out", out)
    assert again.code == 2
    assert again.err == f"fedtap: {out}: already holds a run; add --resume to go on with it, or give another --out\n"
    assert snapshot(out) == before


def test_a_finished_run_is_resumed_at_once_without_its_data(tmp_path: Path, fedtap: Command) -> None:
    path = write_scenario(tmp_path)
    out = tmp_path / "run"
    assert fedtap("run", path, "-m", "probe", "--out", out).code == 0
    before = snapshot(out)
    (tmp_path / "data" / "films.csv").unlink()
    again = fedtap("run", path, "-m", "probe", "--out", out, "--resume")
    assert again.code == 0
    assert "Report:" in again.out
    assert "round" not in again.err
    assert snapshot(out) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--seed", "1"), "seed"),
        (("--method", "fedavg"), "method"),
        (("--set", "local_steps=5"), "config.local_steps"),
        (("--set", "method.gate=paired"), "config.method.gate"),
        (("--set", "network.dim=16"), "config.network.dim"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    change: tuple[str, str], named: str, scenario: Path, whole: Path, fedtap: Command
) -> None:
    before = snapshot(whole)
    refused = fedtap("run", scenario, "--out", whole, "--resume", *change)
    assert refused.code == 2
    assert refused.err == (
        f"fedtap: {whole / 'run.json'}: holds a run with another {named}; give that one's settings, or another --out\n"
    )
    assert snapshot(whole) == before


def test_a_folder_with_something_else_in_it_is_left_alone(scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for resume in ((), ("--resume",)):
        refused = fedtap("run", scenario, "--out", tmp_path, *resume)
        assert refused.code == 2
        assert refused.err == f"fedtap: {tmp_path}: is not empty and holds no run; give another --out\n"
    assert snapshot(tmp_path) == {"thesis.tex": b"years of work"}


def test_the_report_is_made_up_for_where_a_run_was_cut_off_before_it(
    scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    out = tmp_path / "run"
    assert fedtap("run", scenario, "-m", "probe", "--out", out).code == 0
    (out / "report.html").unlink()
    assert fedtap("run", scenario, "-m", "probe", "--out", out, "--resume").code == 0
    assert "<html" in (out / "report.html").read_text()
    assert (
        json.loads((out / "cost.json").read_text())["steps_total"] == 4 * LOCAL_STEPS
    )  # two of the six turns are those of "asker"
