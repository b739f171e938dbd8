"""`fedtap fetch` from a stand-in of the hub on loopback: what it says, what it brings, and that runs need nobody afterwards."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import Command
from fedtap.hub import record
from fetching.conftest import EXAMS, FLAVA, NEWS
from hub_stand_in import Hub

ALL = ["datasets--cais--mmlu.json", "datasets--sh0416--ag_news.json", "models--facebook--flava-full.json"]


def kept(kind: str, name: str) -> record.Fetched:
    """Return the record of a repository, which must be there."""
    found = record.read(kind, name)
    assert found is not None
    return found


@pytest.mark.usefixtures("no_report")
def test_what_was_fetched_is_all_that_a_run_needs(
    hub: Hub, scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))  # another test's model has the same commit
    done = fedtap("run", scenario, "--fetch", "--out", tmp_path / "one")
    assert done.code == 0, done.err
    commits = {name: hub.repos[kind, name].commit for kind, name in hub.repos}
    assert json.loads((tmp_path / "one" / "run.json").read_text())["hub"] == commits
    asked = len(hub.asked)
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "another-cache"))
    again = fedtap("run", scenario, "--out", tmp_path / "two")
    assert again.code == 0, again.err
    assert len(hub.asked) == asked
    one, two = ((tmp_path / run / "results.json").read_bytes() for run in ("one", "two"))
    assert one == two


def test_it_says_what_will_come_and_brings_nothing_else(
    hub: Hub, scenario: Path, fedtap: Command, records: Callable[[], list[str]], home: Path
) -> None:
    said = fedtap("fetch", scenario, "--dry-run")
    assert said.code == 0, said.err
    for words in (FLAVA, NEWS, EXAMS, "bsd-3-clause", "mmlu_professional_law", "MIT", "3 repositories", "are to come"):
        assert words in said.out
    assert records() == []
    assert not any("safetensors" in path or path.endswith((".parquet", ".jsonl")) for path in hub.files_sent())

    alone = fedtap("fetch", scenario)
    assert (alone.code, alone.err.count("\n")) == (2, 1)
    assert "there is nobody to ask; give --yes" in alone.err

    done = fedtap("fetch", scenario, "--yes")
    assert done.code == 0, done.err
    assert records() == ALL
    sent = {path.rpartition("/resolve/")[2].partition("/")[2] for path in hub.files_sent()}
    assert sent == {
        *("README.md", "train.jsonl", "test.jsonl"),
        *("professional_law/test-00000-of-00001.parquet", "professional_law/validation-00000-of-00001.parquet"),
        *("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json", "vocab.txt"),
    }
    lies = {path.name for path in home.rglob("*") if path.is_file()}
    assert not lies & {"pytorch_model.bin", "data.tar", "classes.py"}


def test_again_it_asks_nobody_and_looks_at_every_digest(hub: Hub, scenario: Path, fedtap: Command, home: Path) -> None:
    assert fedtap("fetch", scenario, "--yes").code == 0
    asked = len(hub.asked)
    again = fedtap("fetch", scenario)  # nothing is to come: nobody has to agree
    assert again.code == 0, again.err
    assert "0 bytes are to come" in again.out
    assert len(hub.asked) == asked
    weights = kept("model", FLAVA).folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.resolve().write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    mended = fedtap("fetch", scenario)
    assert mended.code == 0, mended.err
    assert weights.read_bytes() == whole
    assert [path.rpartition("/")[2] for _, path, _ in hub.asked[asked:] if "/resolve/" in path] == [
        *["model.safetensors"] * 2  # its head, and its content
    ]


def test_runs_keep_to_the_commit_that_was_fetched_until_another_is_asked_for(
    hub: Hub, scenario: Path, fedtap: Command
) -> None:
    assert fedtap("fetch", scenario, "--yes").code == 0
    news = hub.repos["dataset", NEWS]
    old, news.commit = news.commit, "c" * 40
    news.branches = ("main", old)  # the hub has both
    assert fedtap("fetch", scenario).code == 0
    assert kept("dataset", NEWS).revision == old
    assert fedtap("fetch", scenario, "--yes", "--update").code == 0
    assert kept("dataset", NEWS).revision == "c" * 40
    assert fedtap("fetch", scenario, "--yes", "--revision", f"{NEWS}=main").code == 0


def test_more_of_a_data_set_comes_from_the_same_commit(hub: Hub, scenario: Path, fedtap: Command) -> None:
    assert fedtap("fetch", scenario, "--yes").code == 0
    text = scenario.read_text()
    scenario.write_text(text.replace("mmlu_professional_law", "mmlu_moral_scenarios"))
    assert fedtap("fetch", scenario, "--yes").code == 0
    found = kept("dataset", EXAMS)
    assert set(found.parts) == {"professional_law", "moral_scenarios"}
    assert found.missing() == ()


def test_a_scenario_that_needs_nothing_of_the_hub_says_so(fedtap: Command) -> None:
    done = fedtap("fetch", "quickstart")
    assert (done.code, done.out) == (0, "quickstart: needs nothing of the hub\n")


def test_a_run_beside_another_commit_is_not_gone_on_with(
    hub: Hub, scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    from fedtap.experiment.same_run import require_same_commits
    from fedtap.runtime.errors import UserError

    assert fedtap("fetch", scenario, "--yes").code == 0
    require_same_commits({"hub": {NEWS: "a" * 40}}, {NEWS: "a" * 40, FLAVA: "b" * 40}, tmp_path)
    require_same_commits({}, {NEWS: "a" * 40}, tmp_path)
    with pytest.raises(UserError, match=f"--revision {NEWS}={'a' * 40}"):
        require_same_commits({"hub": {NEWS: "a" * 40}}, {NEWS: "b" * 40}, tmp_path)
