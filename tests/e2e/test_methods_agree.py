"""What holds between methods on one seed: they start alike, see the same data, and share what their rules share."""

from pathlib import Path

from e2e.conftest import Command, rows


def test_fine_tuning_changes_nothing_before_the_last_round(
    scenario: Path, tmp_path: Path, fedtap: Command, no_report: None
) -> None:
    for method in ("fedavg", "fedavg_ft"):
        assert fedtap("run", scenario, "--method", method, "--out", tmp_path / method).code == 0
    plain, tuned = ([row for row in rows(tmp_path / m) if row["model"] == "federated"] for m in ("fedavg", "fedavg_ft"))
    assert plain
    assert plain == tuned


def test_every_method_is_tested_on_the_same_examples(
    scenario: Path, tmp_path: Path, fedtap: Command, no_report: None
) -> None:
    baselines = {}
    for method in ("local", "tap"):
        assert fedtap("run", scenario, "--method", method, "--seed", 3, "--out", tmp_path / method).code == 0
        models = ("majority", "mean_picture", "unigram", "question_only")
        baselines[method] = [row for row in rows(tmp_path / method) if row["model"] in models]
    assert baselines["local"]
    assert baselines["local"] == baselines["tap"]
