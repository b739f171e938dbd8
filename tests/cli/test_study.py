"""``fedtap study pairs``: its runs and its page, what goes on where it was interrupted, and what it refuses."""

import json
from pathlib import Path

import pytest

from cli.conftest import Command, Done
from fedtap.study.pairs import synthetic

SYNTHETIC = ("study", "pairs", "--quick", "--problems", "synthetic", "--pairs", "1,2,4")


def test_the_synthetic_part_says_what_is_lost_and_why(
    tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pairs"
    called = fedtap(*SYNTHETIC, "--seeds", "0,1,2", "--kinds", "unlike", "-o", out)
    assert called.code == 0, called.err
    assert "13/39" in called.err
    told = " ".join(called.out.split())
    assert "tanh teachers, unlike pairs: with 4 pairs the training loss of the served model is" in told
    found = json.loads((out / "pairs.json").read_text())
    (effects,) = [kind["effects"] for kind in found["problems"]["synthetic"].values()]
    assert len(effects) == 2 * 4 * 5  # numbers of pairs, outcomes, effects
    assert {effect["over"] for effect in effects} == {"seeds"}
    page = (out / "pairs.html").read_text()
    assert "lost averaging" in page
    assert "<svg" in page
    assert "| 4 | training loss, served model |" in (out / "pairs.md").read_text()
    assert [path.suffix for path in (out / "figures").iterdir()] == [".svg"]

    # What is finished is not done again, and a kind may be added.
    made: list[str] = []
    real = synthetic.measure
    monkeypatch.setattr(synthetic, "measure", lambda *given: made.append(given[1].key) or real(*given))
    assert fedtap(*SYNTHETIC, "--seeds", "0,1,2", "--kinds", "unlike", "-o", out).code == 0
    assert made == []
    before = found["problems"]["synthetic"]["unlike"]
    assert fedtap(*SYNTHETIC, "--seeds", "0,1,2", "-o", out).code == 0
    assert len(made) == 39
    assert all(key.startswith("alike") for key in made)
    again = json.loads((out / "pairs.json").read_text())["problems"]["synthetic"]
    assert again["unlike"] == before
    assert again["alike"]["effects"]
    other = fedtap("study", "pairs", "--problems", "synthetic", "-o", out)
    assert other.code == 2
    assert "holds runs with another size" in other.err


def test_real_tasks_with_the_real_network(tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    out = tmp_path / "pairs"
    asked = ("study", "pairs", "--quick", "--problems", "plain", "--kinds", "alike", "--pairs", "1,2")
    done_here.failing = {"plain-alike-K2-private-T1-0-seed0"}
    failed = fedtap(*asked, "--lengths", "T1", "--seeds", "0", "-o", out)
    assert failed.code == 1
    assert "1 of 3 runs failed" in failed.err
    found = json.loads((out / "pairs.json").read_text())
    assert [row["run"] for row in found["incomplete"]] == ["plain-alike-K2-private-T1-0-seed0"]
    assert {row["effect"] for row in found["problems"]["plain"]["alike"]["effects"]} == {"decline"}
    done_here.failing = set()
    called = fedtap(*asked, "--lengths", "T1", "--seeds", "0", "-o", out)
    assert called.code == 0, called.err
    assert done_here == ["plain-alike-K2-private-T1-0-seed0"]
    told = json.loads((out / "pairs.json").read_text())["problems"]["plain"]["alike"]
    effects = {(row["outcome"], row["effect"]): row for row in told["effects"]}
    assert {outcome for outcome, _ in effects} == {"training", "test", "personal", "personal over served"}
    assert effects["training", "sharing at T1"]["mean"] != 0  # the trunks differ
    log = (out / "runs" / "plain-alike-K2-shared-T1-0-seed0" / "events.jsonl").read_text().splitlines()
    looks = [event for event in map(json.loads, log) if event["event"] == "theory"]
    assert [set(look["losses"]) for look in looks] == [{"vqa0", "vqa1"}] * 2
    shared = next(row for row in told["levels"] if (row["trunk"], row["outcome"]) == ("shared", "training"))
    mean = sum(looks[-1]["losses"].values()) / 2
    assert shared["factor"] == pytest.approx(mean / told["alone"]["training"], rel=0.01)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--pairs", "2,4"), "--pairs: give 1 and more of 2, 4, 8 and 16"),
        (("--pairs", "a"), "--pairs a: give whole numbers with commas"),
        (("--problems", "toy"), "--problems toy: unknown"),
        (("--kinds", "like"), "--kinds like: unknown; did you mean 'alike'"),
        (("--tasks", "3"), "--tasks 3: give 2, 4 or 8"),
        (("--jobs", "0"), "--jobs"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, fedtap: Command, given: tuple[str, str], why: str) -> None:
    called = fedtap("study", "pairs", "--quick", *given, "-o", tmp_path / "out")
    assert called.code == 2
    assert why in " ".join(called.err.split())


def test_the_map_of_regimes(tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    out = tmp_path / "regimes"
    asked = ("study", "regimes", "--quick", "--points", "map", "--conflicts", "1", "--examples", "8")
    called = fedtap(*asked, "--methods", "choice", "--seeds", "0", "-o", out)
    assert called.code == 0, called.err
    assert len(done_here) == 3  # cells, and local and fedavg_ft with what was asked for
    found = json.loads((out / "regimes.json").read_text())
    assert [(point["conflict"], point["examples"]) for point in found["points"]] == [(1, 8)]
    assert {row["method"] for row in found["points"][0]["rows"]} == {"local", "fedavg_ft", "choice", "federated"}
    page = (out / "regimes.html").read_text()
    assert "Gain over the better of local and fedavg_ft" in page
    assert page.count("<svg") == 2  # the map, and that of the toy
    assert "| choice |" in (out / "regimes.md").read_text()
    done_here.clear()
    assert fedtap(*asked, "--methods", "choice", "--seeds", "0", "-o", out).code == 0
    assert done_here == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--points", "maps"), "--points maps: unknown; did you mean 'map'"),
        (("--network", "plane"), "--network plane: unknown; did you mean 'plain'"),
        (("--conflicts", "2"), "--conflicts 2: give numbers from 0 to 1"),
        (("--conflicts", "some"), "--conflicts some: give numbers with commas"),
        (("--examples", "1000"), "--examples 1000: give numbers from 4 to 96"),
        (("--methods", "tapp"), "'tapp'"),
    ],
)
def test_what_is_asked_of_regimes_wrongly(tmp_path: Path, fedtap: Command, given: tuple[str, str], why: str) -> None:
    called = fedtap("study", "regimes", "--quick", *given, "-o", tmp_path / "out")
    assert called.code == 2
    assert why in " ".join(called.err.split())
    assert not (tmp_path / "out" / "runs").exists()
