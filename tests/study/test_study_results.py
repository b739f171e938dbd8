"""What comparisons and sweeps leave, at hand in Python: tables and figures of the same numbers, and the way to the runs."""

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import fedtap
from synthetic_comparison import synthetic_comparison
from synthetic_run import write_run

pytest.importorskip("pandas", reason="the extra pandas")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> fedtap.ComparisonResult:
    folder = tmp_path_factory.mktemp("comparison")
    told, costs = synthetic_comparison(["local", "probe", "fedavg_ft", "tap:gate=paired"])
    (folder / "comparison.json").write_text(json.dumps(told))
    (folder / "costs.json").write_text(json.dumps({"schema": 1, "rows": costs}))
    (folder / "comparison.html").write_text("the page")
    write_run(folder / "runs" / "tap-gate=paired-seed1")
    return fedtap.ComparisonResult.open(folder)


def point(setting: str, series: str, settings: dict[str, str], gain: float | None) -> dict[str, Any]:
    row = {"family": "text_classification", "metric": "accuracy", "mean": 0.5, "ci95": None, "client_tasks": 3}
    told = None if gain is None else {"delta_percent": gain, "ci95": [gain - 1, gain + 1], "over": "local", "n": 6}
    costs = {"steps_total": 10, "bytes_down": 10**6, "bytes_up": 10**6}
    splits = {"test": {"rows": [row], "gain": told}}
    return {"setting": setting, "series": series, "settings": settings, "clients": 4, "splits": splits, "costs": costs}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> fedtap.SweepResult:
    folder = tmp_path_factory.mktemp("sweep")
    points = [
        point("tap, margin=0.001, rounds=3", "tap, rounds=3", {"margin": "0.001", "rounds": "3"}, 5.0),
        point("tap, margin=10, rounds=3", "tap, rounds=3", {"margin": "10", "rounds": "3"}, 2.0),
        point("local, rounds=3", "local, rounds=3", {"rounds": "3"}, None),
    ]
    axes = [{"key": "margin", "values": ["0.001", "10"]}, {"key": "rounds", "values": ["3"]}]
    told = {"scenario": "made up", "axes": axes, "points": points, "seeds": [0], "base": "local", "incomplete": []}
    (folder / "sweep.json").write_text(json.dumps(told))
    rows = [{"method": each["setting"], "seconds": 4.0, **each["costs"]} for each in points]
    (folder / "costs.json").write_text(json.dumps({"schema": 1, "rows": rows}))
    write_run(folder / "runs" / "tap-margin=10-rounds=3-seed0")
    return fedtap.SweepResult.open(folder)


def test_the_tables_of_a_comparison_are_its_file(comparison: fedtap.ComparisonResult) -> None:
    gains = comparison.gains.set_index(["split", "scope", "method"])
    for split, values in comparison["splits"].items():
        for scope in {"all", "without_reconstruction"} & values.keys():
            for row in values[scope]["delta"]:
                told = gains.loc[(split, scope, row["method"])]
                assert (told["percent"], told["n"]) == (row["delta_percent"], row["n"])
                assert [told["low"], told["high"]] == (row["ci95"] or pytest.approx([float("nan")] * 2, nan_ok=True))
    assert len(comparison.families) == sum(len(values["rows"]) for values in comparison["splits"].values())
    assert list(comparison.pairs["p_holm"]) == [row["p_holm"] for row in comparison["pairs"]]
    tests = comparison.tests.query("split == 'cross' and scope == 'all'")
    assert list(tests["method"]) == [row["method"] for row in comparison["splits"]["cross"]["all"]["against"]]
    assert list(comparison.costs["seconds"]) == [40.5] * 4


def test_the_figures_of_a_comparison_are_those_of_its_page(comparison: fedtap.ComparisonResult) -> None:
    panels = comparison.plot_gains().axes
    assert len(panels) == len(comparison["splits"])
    shown = {float(line.get_xdata()[0]) for line in panels[0].lines if line.get_marker() == "o"}
    assert {row["delta_percent"] for row in comparison["splits"]["test"]["all"]["delta"]} <= shown
    (axes,) = comparison.plot_cost("seconds").axes
    assert axes.get_xlabel() == "seconds of a run, one thread"
    assert comparison.plot_trade()._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(fedtap.UserError, match="did you mean 'seconds'"):
        comparison.plot_cost("second")  # type: ignore[arg-type]


def test_a_comparison_leads_to_its_runs(comparison: fedtap.ComparisonResult) -> None:
    assert comparison.methods == ["local", "probe", "fedavg_ft", "tap:gate=paired"]
    run = comparison.run("tap:gate=paired", seed=1)
    assert (run.folder.name, run.method) == ("tap-gate=paired-seed1", "tap")
    with pytest.raises(fedtap.UserError, match="no method 'tapp'"):
        comparison.run("tapp")
    with pytest.raises(fedtap.UserError, match="no seed 7"):
        comparison.run("tap:gate=paired", seed=7)
    with pytest.raises(fedtap.UserError, match="local-seed0: no such folder"):
        comparison.run("local")


def test_a_notebook_shows_a_comparison(comparison: fedtap.ComparisonResult) -> None:
    shown = unescape(comparison._repr_html_())
    assert comparison.summary[0] in shown
    assert "Mean relative gain over local on own test data" in shown
    assert "comparison.html" in shown


def test_a_comparison_of_nothing_says_so(tmp_path: Path) -> None:
    empty = fedtap.ComparisonResult(tmp_path, {})
    assert (empty.methods, empty.summary, len(empty.gains), len(empty.pairs)) == ([], [], 0, 0)
    assert "fedtap-shown" in empty._repr_html_()
    with pytest.raises(fedtap.UserError, match="nothing was compared"):
        empty.plot_gains()
    with pytest.raises(
        fedtap.UserError, match=r"holds no comparison.json; give the folder of a finished `fedtap compare`"
    ):
        fedtap.ComparisonResult.open(tmp_path)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(fedtap.UserError, match="'axes' is missing"):
        fedtap.SweepResult.open(tmp_path)


def test_the_tables_of_a_sweep_have_a_column_for_each_setting(sweep: fedtap.SweepResult) -> None:
    gains = sweep.gains
    assert gains[["margin", "rounds", "percent", "low", "high", "over"]].values.tolist() == [
        ["0.001", "3", 5.0, 4.0, 6.0, "local"],
        ["10", "3", 2.0, 1.0, 3.0, "local"],
    ]
    families = sweep.families
    assert len(families) == 3
    assert families["margin"].isna().tolist() == [False, False, True]
    assert list(sweep.costs["seconds"]) == [4.0] * 3


def test_the_figures_of_a_sweep_and_the_way_to_its_runs(sweep: fedtap.SweepResult) -> None:
    (axes,) = [axes for axes in sweep.plot_gains().axes if axes.get_title("left") == "own test data"]
    line = next(line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    assert list(line.get_ydata()) == [5.0, 2.0]
    assert len(sweep.plot_families().axes) == 1
    assert len(sweep.plot_cost().axes) == 2
    assert sweep.run("tap, margin=10, rounds=3").folder.name == "tap-margin=10-rounds=3-seed0"
    with pytest.raises(fedtap.UserError, match="no setting 'tap'"):
        sweep.run("tap")
    shown = unescape(sweep._repr_html_())
    assert "margin = 0.001, 10" in shown
    assert sweep.summary[0].partition(";")[0] in shown


@pytest.mark.parametrize("place", ["comparison.json", "sweep.json"])
def test_what_somebody_else_wrote_is_one_line(
    place: str, comparison: fedtap.ComparisonResult, sweep: fedtap.SweepResult, tmp_path: Path
) -> None:
    kind = {"comparison.json": comparison, "sweep.json": sweep}[place]
    told = json.loads(json.dumps(kind))
    (tmp_path / "costs.json").write_bytes((kind.folder / "costs.json").read_bytes())
    if place == "comparison.json":
        told["splits"]["test"]["all"]["delta"][0] = "nothing"
    else:
        told["points"][0]["settings"] = [3]
    (tmp_path / place).write_text(json.dumps(told))
    with pytest.raises(fedtap.UserError, match="is not what a study writes"):
        type(kind).open(tmp_path)
