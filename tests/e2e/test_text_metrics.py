"""Whole runs that score generated texts by METEOR and BERTScore: the same bytes twice, and what is missing is missed at once."""

from pathlib import Path

import nltk
import pytest

from e2e.conftest import Command, rows
from tiny_bert import write_bert

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setattr(nltk.data, "path", [])
    folder = write_bert(tmp_path / "some-bert")
    settings = ("rounds=1", "evaluation.text_metrics=[meteor,bertscore]", f"evaluation.bertscore_encoder={folder}")
    return ("--method", "fedavg", *(part for setting in settings for part in ("--set", setting)))


def test_they_are_in_the_results_and_the_same_twice(
    scenario: Path, tmp_path: Path, fedtap: Command, options: tuple[object, ...]
) -> None:
    for out in ("first", "second"):
        assert fedtap("run", scenario, *options, "--out", tmp_path / out).code == 0
    first, second = ((tmp_path / out / "results.json").read_bytes() for out in ("first", "second"))
    assert first == second
    found = [row for row in rows(tmp_path / "first") if row["task"] == "ask" and row["split"] == "test"]
    asked = {"meteor-exact-stem", "bertscore_f1[some-bert]"}
    assert {row["metric"] for row in found if row["model"] == "federated"} == {
        *("cross_entropy", "perplexity", "exact_match", "chrf", "rouge_l"),
        *asked,
    }
    assert {row["metric"] for row in found if row["model"] == "majority"} == {"exact_match", *asked}
    # "yes" or "no" to all: the answer is right where its form is, which METEOR halves, since a chunk a word is the most there is
    values = {row["metric"]: row["value"] for row in found if row["model"] == "majority"}
    assert values["meteor-exact-stem"] == pytest.approx(values["exact_match"] / 2)
    assert values["exact_match"] < values["bertscore_f1[some-bert]"] <= 1


def test_a_missing_encoder_is_told_before_anything_is_trained(scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    settings = ("evaluation.text_metrics=bertscore", "evaluation.bertscore_encoder=nowhere/at-all")
    options = [part for setting in settings for part in ("--set", setting)]
    for command in (("run",), ("compare", "--methods", "local,fedavg")):
        done = fedtap(command[0], scenario, *command[1:], *options, "--out", tmp_path / command[0])
        assert done.code == 2
        assert "evaluation.bertscore_encoder: 'nowhere/at-all' is neither" in done.err
        assert len(done.err.splitlines()) == 1
        assert not list((tmp_path / command[0]).glob("*"))
