"""A run's result at hand in Python: its tables, its figures, how a notebook shows it, and what is wrong with a folder."""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from matplotlib.colors import to_hex

import fedtap
from fedtap.reporting.html.svg import SERIES
from fedtap.reporting.html.templating import source
from synthetic_run import write_run

pandas = pytest.importorskip("pandas", reason="the extra pandas")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("results") / "run", outcomes=1)


@pytest.fixture(scope="module")
def result(folder: Path) -> fedtap.RunResult:
    return fedtap.RunResult.open(folder)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in told if event["event"] == kind]


def test_it_is_what_results_json_holds_and_can_be_written_again(result: fedtap.RunResult, folder: Path) -> None:
    told = json.loads((folder / "results.json").read_text())
    assert result == told
    assert json.loads(json.dumps(result)) == told
    assert (result.method, result.seed, result.scenario, result.deployed) == ("tap", 3, "synthetic", "personal")
    assert result.clients == [f"c{number}" for number in range(7)]
    assert repr(result) == f"RunResult('{folder}': tap, seed 3)"


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    result = fedtap.RunResult.open(write_run(tmp_path / "run"))
    (tmp_path / "run" / "events.jsonl").write_text("no JSON\n")
    assert len(result.results) == len(result["rows"])
    with pytest.raises(fedtap.UserError, match=r"events\.jsonl"):
        _ = result.losses


def test_the_tables_hold_what_the_files_do(result: fedtap.RunResult, folder: Path) -> None:
    assert result.results.to_dict("records") == result["rows"]
    updates = events(folder, "update")
    table = result.rounds.set_index("round")
    first = [event for event in updates if event["round"] == 3]
    assert table.loc[3, "clients"] == len(first) == 4
    assert table.loc[3, "bytes_down"] == sum(event["bytes_down"] for event in first)
    assert table.loc[3, "loss_federated"] == pytest.approx(fmean(x for e in first for x in e["losses"].values()))
    began, ended = (events(folder, kind)[2]["time"] for kind in ("round_started", "round_finished"))
    assert table.loc[3, "seconds"] == pytest.approx(ended - began)
    assert list(table.index) == list(range(1, 9))
    losses = result.losses
    assert len(losses) == 2 * sum(len(event["losses"]) for event in updates)
    one = losses.query("round == 3 and model == 'personal'")
    assert dict(zip(zip(one.client, one.task, strict=True), one.loss, strict=True)) == {
        (event["client"], task): loss for event in first for task, loss in event["personal_losses"].items()
    }
    decisions = result.decisions
    told = events(folder, "decision")
    assert len(decisions) == len(told)
    assert decisions["outcome"].value_counts().to_dict() == {
        outcome: sum(event["outcome"] == outcome for event in told) for outcome in ("replaced", "kept", "reverted")
    }
    replaced = decisions.query("kind == 'replace' and not first and changed")
    assert len(replaced) == result.rounds["replaced"].sum() > 0
    cost = json.loads((folder / "cost.json").read_text())
    table = result.cost.set_index(["what", "phase"])["value"]
    assert table["seconds", "all"] == cost["seconds"]
    assert table["seconds", "rounds"] == cost["by_phase"]["rounds"]


def test_gains_are_relative_and_more_is_better(result: fedtap.RunResult) -> None:
    def value(client: str, task: str, model: str, metric: str) -> float:
        rows = [r for r in result["rows"] if (r["client"], r["task"], r["model"]) == (client, task, model)]
        return float(next(r["value"] for r in rows if r["metric"] == metric and r["split"] == "test"))

    table = result.gains.set_index(["over", "client", "task"])
    assert set(result.gains["over"]) == {"finetuned", "federated"}
    accuracy = table.loc[("finetuned", "c1", "sentiment")]
    ours, base = (value("c1", "sentiment", model, "accuracy") for model in ("personal", "finetuned"))
    assert accuracy["percent"] == pytest.approx(100 * (ours / base - 1))
    error = table.loc[("federated", "c2", "shapes")]
    ours, base = (value("c2", "shapes", model, "mse") for model in ("personal", "federated"))
    assert error["percent"] == pytest.approx(100 * (1 - ours / base))  # less is better
    assert not table["beyond_noise"].any() or (table.query("beyond_noise")["p"] < 0.05).all()


def test_figures_show_the_tables(result: fedtap.RunResult) -> None:
    (axes,) = result.plot_gains("federated").axes
    shown = sorted(float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o")
    assert shown == pytest.approx(sorted(result.gains.query("over == 'federated'")["percent"]))
    figure = result.plot_losses()
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    mean = result.losses.query("family == 'text_classification' and model == 'personal'").groupby("round").loss.mean()
    lines = [list(line.get_ydata()) for line in panels["text classification"].lines]
    assert any(line == pytest.approx(list(mean)) for line in lines)
    marks = result.plot_decisions().axes[0].lines
    assert sum(len(line.get_xdata()) for line in marks) == len(result.decisions.query("kind == 'replace'"))
    moved, spent = result.plot_cost().axes
    assert [bar.get_height() for bar in spent.patches] == pytest.approx(list(result.rounds["seconds"]))
    assert moved.get_title("left") == "MB a round"
    assert sum(bar.get_height() for bar in moved.patches) == pytest.approx(
        (result.rounds["bytes_down"].sum() + result.rounds["bytes_up"].sum()) / 1e6
    )
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_figures_have_the_colours_of_a_page() -> None:
    light = source("style.css").split("}")[0]
    for number, colour in enumerate(SERIES, start=1):
        assert f"--series-{number}: {to_hex(colour)};" in light


def test_a_notebook_shows_the_headline_the_table_and_the_report(result: fedtap.RunResult, folder: Path) -> None:
    before = result._repr_html_()
    assert "synthetic · tap · seed 3" in before
    assert result.headline[0] in before
    assert "Mean over client tasks" in before
    assert "Report:" not in before
    assert result.report == folder / "report.html"
    assert f"<code>{folder / 'report.html'}</code>" in result._repr_html_()


def test_what_stands_in_a_strangers_folder_is_escaped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", about="")
    text = (folder / "run.json").read_text().replace('"name": "synthetic"', '"name": "<script>x</script>"')
    (folder / "run.json").write_text(text)
    shown = fedtap.RunResult.open(folder)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown


def test_a_folder_that_cannot_be_read_any_more_is_one_line_in_a_notebook(tmp_path: Path) -> None:
    result = fedtap.RunResult.open(write_run(tmp_path / "run"))
    (tmp_path / "run" / "events.jsonl").write_text("no JSON\n")
    assert "events.jsonl" in result._repr_html_()


@pytest.mark.parametrize(
    ("finished", "place", "line"),
    [
        (True, "nowhere", "no such folder"),
        (False, "run", "the run is not finished; go on with it"),
    ],
)
def test_what_is_no_finished_run_is_refused(finished: bool, place: str, line: str, tmp_path: Path) -> None:
    write_run(tmp_path / "run", finished=finished)
    with pytest.raises(fedtap.UserError, match=line):
        fedtap.RunResult.open(tmp_path / place)


def test_results_of_another_run_are_not_mixed_with_these(tmp_path: Path) -> None:
    result = fedtap.RunResult.open(write_run(tmp_path / "run", rounds=3))
    told = json.loads((tmp_path / "run" / "results.json").read_text())
    told["rows"][0]["value"] += 0.1
    (tmp_path / "run" / "results.json").write_text(json.dumps(told))
    with pytest.raises(fedtap.UserError, match=r"holds other results than these.*RunResult.open"):
        _ = result.gains


def test_what_a_run_does_not_have_is_said(tmp_path: Path) -> None:
    result = fedtap.RunResult.open(write_run(tmp_path / "run", decisions=False, method="fedavg"))
    with pytest.raises(fedtap.UserError, match="'fedavg' replaced no models"):
        result.plot_decisions()
    with pytest.raises(fedtap.UserError, match=r"over 'local'.*known: federated, finetuned"):
        result.plot_gains("local")
    assert list(result.decisions.columns) == list(fedtap.RunResult.open(tmp_path / "run").decisions.columns)
    assert len(result.decisions) == 0


def test_without_pandas_a_line_says_how_to_get_it(result: fedtap.RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(fedtap.UserError, match=r"need the package pandas; run: .*\[pandas\]"):
        _ = result.results
    assert result.headline  # nothing else needs it
