"""What falls short in clients' data reaches people: before a run, while it runs, and in its report."""

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fedtap.reporting.events import read_events
from fedtap.reporting.progress.run import DATA_LINES, DataLines
from tiny_federation import TASKS, called, settings, write_scenario


def own(*tasks: str, id: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": id, "tasks": [{"name": task, **TASKS[task], **more} for task in tasks]}


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """One client whose films are fewer than it asks for, and one whose answers its models cannot write."""
    path = write_scenario(
        tmp_path,
        rounds=2,
        network={**settings()["network"], "answer_tokens": 2},
        data={},
        clients=[own("mood", test=50), own("ask", id="b")],
    )
    table = tmp_path / "data" / "questions.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for i, row in enumerate(rows):
        row["target"] = ("yes", "\U0001f600", "red blue red")[i % 3]
    table.write_text("\n".join(map(json.dumps, rows)))
    return path


LINES = {
    "a": ["mood: test: 24 of 50 asked for"],
    "b": [
        "ask: 20 of 60 answers are longer than a model writes (network.answer_tokens=2)",
        "ask: 20 of 60 answers hold words that the model's vocabulary does not know",
    ],
}


def test_a_plan_tells_it_where_the_data_are_at_hand(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("scenario", "plan", scenario, "--json") == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["short"], data["not_looked_at"]) == (LINES, [])
    assert {client: sum(sum(sizes.values()) for sizes in own.values()) for client, own in data["clients"].items()} == {
        "a": 90,
        "b": 60,
    }
    assert called("scenario", "plan", scenario) == 0
    shown = capsys.readouterr().out
    assert "a: mood: test: 24 of 50 asked for" in shown
    assert "b: ask: 20 of 60 answers are longer" in shown
    (scenario.parent / "data" / "films.csv").unlink()
    assert called("scenario", "plan", scenario) == 0  # the rest of the plan needs no data
    shown = capsys.readouterr().out
    assert "films.csv: not on this machine, so not looked at" in shown
    assert "b: ask: 20 of 60 answers are longer" in shown


def test_a_run_tells_it_once_on_the_terminal_in_its_log_and_in_its_report(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert called("run", scenario, "--method", "local", "--out", out) == 0
    shown = capsys.readouterr().err
    events = [event for event in read_events(out / "events.jsonl") if event["event"] == "data"]
    assert {event["client"]: event["lines"] for event in events} == LINES
    report = (out / "report.html").read_text(encoding="utf-8")
    for client, lines in LINES.items():
        for line in lines:
            assert shown.count(f"{client}: {line}") == 1
            assert line in unescape(report)
    assert "Where the data fall short" in report
    assert "The data of 2 clients fall short" in report


def test_a_run_that_is_resumed_has_it_in_its_log_once(scenario: Path, tmp_path: Path) -> None:
    from fedtap.experiment.run import run_in_process
    from fedtap.scenario.scenario import load_scenario

    def stop_at(kind: str) -> None:
        def tell(event: dict[str, Any]) -> None:
            if event["event"] == kind and event.get("round", 0) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_in_process(load_scenario(scenario), method="local", out=out, resume="auto", device="cpu", tell=tell)

    out = tmp_path / "run"
    stop_at("round_started")
    run_in_process(load_scenario(scenario), method="local", out=out, resume=True, device="cpu")
    events = [event for event in read_events(out / "events.jsonl") if event["event"] == "data"]
    assert {event["client"]: event["lines"] for event in events} == LINES
    assert len(events) == len(LINES)


def test_a_node_is_told_what_its_own_data_lack(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = tmp_path / "node"
    data = ("--data", f"ask={scenario.parent / 'data' / 'questions.jsonl'}")
    assert called("node", "init", node, "--client", "b", "--scenario", scenario, "--no-key", *data) == 0
    capsys.readouterr()
    assert called("node", "check", node, "--scenario", scenario) == 0
    shown = capsys.readouterr().out
    for line in LINES["b"]:
        assert line in shown
    assert "mood" not in shown


def test_a_terminal_shows_the_first_lines_and_says_where_the_others_are() -> None:
    lines = DataLines()
    event = {"event": "data", "client": "a", "lines": [f"line {i}" for i in range(5)]}
    assert lines.take(event) == [f"a: line {i}" for i in range(5)]
    shown = [line for _ in range(6) for line in lines.take(event)]
    assert len(shown) == DATA_LINES - 5 + 1
    assert "in the report" in shown[-1]
    exact = DataLines()
    assert exact.take({**event, "lines": ["line"] * DATA_LINES}) == ["a: line"] * DATA_LINES
