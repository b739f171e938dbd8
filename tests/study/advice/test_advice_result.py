"""What advice leaves, at hand in Python: the sentence, a table of the same numbers, and the way to the runs."""

import json
from html import unescape
from pathlib import Path

import pytest

import fedtap
from study.advice.made_up import noisy
from study.advice.test_verdict import told
from synthetic_run import write_run

pytest.importorskip("pandas", reason="the extra pandas")


@pytest.fixture(scope="module")
def advice(tmp_path_factory: pytest.TempPathFactory) -> fedtap.AdviceResult:
    folder = tmp_path_factory.mktemp("advice")
    result, costs = told({"fedavg": noisy(10, 1, 1), "fedavg_ft": noisy(30, 1, 2)})
    (folder / "advice.json").write_text(json.dumps(result))
    (folder / "advice-costs.json").write_text(json.dumps({"schema": 1, "rows": costs}))
    (folder / "comparison.html").write_text("the page")
    write_run(folder / "runs" / "fedavg_ft-seed1")
    return fedtap.AdviceResult.open(folder)


def test_the_advice_is_a_method_a_sentence_and_what_belongs_to_it(advice: fedtap.AdviceResult) -> None:
    assert (advice.method, advice.methods) == ("fedavg_ft", ["fedavg_ft", "fedavg", "local"])
    assert advice.advice.startswith("Use fedavg_ft: ")
    assert advice.summary[0] == advice.advice
    assert len(advice.summary) > 2
    assert repr(advice).endswith(": fedavg_ft)")


def test_the_table_is_its_file(advice: fedtap.AdviceResult) -> None:
    table = advice.frame.set_index("method")
    assert list(table.index) == advice.methods
    for row in advice["rows"]:
        shown = table.loc[row["method"]]
        assert (shown["percent"], shown["standing"], shown["seeds"]) == (
            row["delta_percent"],
            row["standing"],
            row["seeds"],
        )
        assert [shown["low"], shown["high"]] == row["ci95"]
    ends = next(row["difference_ci95"] for row in advice["rows"] if row["method"] == "fedavg")
    assert list(table.loc["fedavg", ["difference_low", "difference_high"]]) == ends
    assert list(table.loc["fedavg", ["hurt", "clients"]]) == [0, 6]
    assert list(table.loc["local", ["hurt_by_federated"]]) == [6]
    assert list(advice.costs["seconds"]) == [10.0] * 3


def test_a_notebook_shows_it_and_it_leads_to_its_runs(advice: fedtap.AdviceResult) -> None:
    shown = unescape(advice._repr_html_())
    assert advice.advice in shown
    assert "Mean relative gain over local" in shown
    assert "comparison.html" in shown
    assert advice.run("fedavg_ft", seed=1).folder.name == "fedavg_ft-seed1"
    with pytest.raises(fedtap.UserError, match="no method 'fedavg_fd'"):
        advice.run("fedavg_fd")


def test_where_there_is_none_it_says_so(tmp_path: Path) -> None:
    empty = fedtap.AdviceResult(tmp_path, {})
    assert (empty.method, empty.advice, empty.summary, len(empty.frame)) == ("", "", [], 0)
    assert "fedtap-shown" in empty._repr_html_()
    with pytest.raises(fedtap.UserError, match=r"holds no advice.json; give the folder of a finished `fedtap advise`"):
        fedtap.AdviceResult.open(tmp_path)
