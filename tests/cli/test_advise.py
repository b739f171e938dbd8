"""``fedtap advise``: what it runs, what it says and writes, how it goes on, and what it refuses.

One test trains; in the others the runs' results are made up, and all else is real.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.conftest import TWO_SITES, Command, Done
from fedtap import AdviceResult
from fedtap.algorithms.registry import make
from fedtap.runtime.manifest import write_manifest
from fedtap.runtime.sealed import write_sealed_json
from fedtap.runtime.storage import json_bytes, write_bytes, write_json
from fedtap.study.batch import Job

ASKED = ("-m", "fedavg", "--seeds", "0,1", "--budget", "2", "--set", "rounds=1")
CLIENT = "digits, type: classification, modality: image, domain: digits, source: digits}]\n"
PERCENT = {"local": 0.0, "fedavg": 10.0, "fedavg_ft": 40.0, "fedper": 40.0}
"""How much better than alone a made-up run is, on average."""


class MadeUp:
    """Runs that nobody trained: which were asked for, batch by batch; ``stop_at`` interrupts before that one."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.stop_at = ""
        self.failing: set[str] = set()

    def run_batch(self, jobs: Sequence[Job], **_: Any) -> dict[str, str]:
        self.batches.append([job.name for job in jobs if not job.finished()])
        for job in jobs:
            if job.name == self.stop_at:
                raise KeyboardInterrupt
            if job.name not in self.failing and not job.finished():
                write(job)
        return {job.name: "made to fail" for job in jobs if job.name in self.failing}


def write(job: Job) -> None:
    """Write what a finished run leaves of what a comparison reads."""
    algorithm = make(job.scenario.method)
    rows = []
    for number, client in enumerate(job.scenario.clients):
        draw = np.random.default_rng((job.seed, number, sum(algorithm.name.encode())))
        percent = PERCENT[algorithm.name] + (algorithm.name != "local") * 2 * float(draw.normal())
        about = {"client": client.id, "task": "digits", "family": "image_classification", "split": "test"}
        value = 0.5 * (1 + percent / 100)
        rows.append({**about, "model": algorithm.deployed, "metric": "accuracy", "value": value, "n": 100})
    cost = {"steps_total": 100, "bytes_down": 4, "bytes_up": 2, "seconds": 1.0, "peak_rss_bytes": 1}
    cost |= {"bytes_down": 0, "bytes_up": 0} if algorithm.name == "local" else {}
    write_json(job.out / "cost.json", cost)
    write_bytes(job.out / "report.html", b"")
    text = json.dumps({"rows": rows}).encode()
    write_bytes(job.out / "results.json", text)
    record = {"run": job.name, "kind": "k", "method": algorithm.name, "deployed": algorithm.deployed, "seed": job.seed}
    record |= {"config": {}, "environment": {}, "data": {}, "code": None}
    write_sealed_json(job.out / "run.json", record, {"what": "run", "run": job.name})
    write_manifest(
        job.out, job.name, {"cost.json": json_bytes(cost)}, {"results.json": hashlib.sha256(text).hexdigest()}
    )


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """Have runs made up, and return which."""
    runs = MadeUp()
    monkeypatch.setattr("fedtap.study.folder.run_batch", runs.run_batch)
    monkeypatch.setattr(Job, "check", lambda self, device: None)  # their folders hold no scenario
    monkeypatch.setattr("fedtap.reporting.comparison.page.comparison_page", lambda *given: " ".join(given[3]))
    return runs


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Return the file of a scenario of six sites with one task."""
    path = tmp_path / "six.yaml"
    path.write_text(TWO_SITES + "".join(f"  - id: {name}\n    tasks: [{{name: {CLIENT}" for name in "cdef"))
    return path


def test_pilots_train_and_end_with_a_sentence_and_a_comparison_goes_on_from_them(
    scenario: Path, tmp_path: Path, fedtap: Command, done_here: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    called = fedtap("advise", scenario, *ASKED, "-o", out)
    assert called.code == 0, called.err
    assert done_here == ["fedavg-seed0", "local-seed0"]
    assert "'local' is added" in called.err
    assert "rung 1: fedavg and local; seed 0, 2 runs" in called.err
    found = AdviceResult.open(out)
    assert (found["runs"], found.seeds, found["asked"]) == (2, [0], {"seeds": [0, 1], "budget": 2})
    said = called.out.splitlines()
    assert all(sentence in said for sentence in found.summary)
    assert found.advice == found.summary[0]
    assert found.method in ("local", "fedavg")
    assert "A dash in place of an interval" in called.out  # two clients
    assert str(tmp_path) not in (out / "advice.json").read_text()
    assert found.advice in (out / "advice.md").read_text()

    # its gains are those of the comparison that lies beside it, whose page has the advice at its head
    (row,) = found.comparison["delta"]
    mine = next(each for each in found["rows"] if each["method"] == "fedavg")
    for key in ("delta_percent", "wins", "losses", "n"):
        assert mine[key] == row[key]
    assert '<p class="headline">' in (out / "comparison.html").read_text()
    assert found.run("fedavg").seed == 0

    monkeypatch.setattr(
        "fedtap.reporting.comparison.page.comparison_page", lambda *given: ""
    )  # its figures take seconds
    before = (out / "advice.json").read_bytes(), (out / "advice.md").read_bytes()
    assert fedtap("advise", scenario, *ASKED, "-o", out).code == 0
    assert done_here == []
    assert ((out / "advice.json").read_bytes(), (out / "advice.md").read_bytes()) == before
    assert fedtap("compare", scenario, "-m", "fedavg", "--set", "rounds=1", "-o", out).code == 0
    assert done_here == []


def test_each_rung_runs_those_that_are_left_with_more_seeds(
    six: Path, tmp_path: Path, fedtap: Command, made_up: MadeUp
) -> None:
    out = tmp_path / "out"
    called = fedtap("advise", six, "-m", "fedavg,fedavg_ft,fedper", "--seeds", "0,1,2,3,4", "-o", out)
    assert called.code == 0, called.err
    assert [sorted({name.partition("-")[0] for name in batch}) for batch in made_up.batches] == [
        ["fedavg", "fedavg_ft", "fedper", "local"],
        ["fedavg_ft", "fedper", "local"],
    ]
    assert [sorted({int(name[-1]) for name in batch}) for batch in made_up.batches] == [[0, 1, 2], [3, 4]]
    assert "rung 2: fedavg_ft and fedper, and local as the base; seeds 3, 4, 6 runs" in called.err
    found = AdviceResult.open(out)
    assert found.advice.startswith("These cannot be told apart after 5 seeds: fed")
    assert found.method == "fedper"  # as many steps and bytes, and one model less
    assert [(row["method"], row["seeds"]) for row in found["out"]] == [("fedavg", 3), ("local", 3)]
    assert {row["method"]: row["seeds"] for row in found["rows"]} == {
        "fedavg_ft": 5, "fedper": 5, "fedavg": 3, "local": 5,
    }  # fmt: skip
    # the comparison is of those that came through, with every seed
    assert (found.comparison.methods, found.comparison.seeds) == (["local", "fedavg_ft", "fedper"], [0, 1, 2, 3, 4])
    assert (out / "comparison.html").read_text().startswith(found.advice)
    table = [line.split() for line in called.out.splitlines() if line.split()[:1] == ["fedavg"]]
    assert table[0][1:3] == ["behind", "3"]


def test_what_was_interrupted_goes_on_and_ends_as_it_would_have(
    six: Path, tmp_path: Path, fedtap: Command, made_up: MadeUp
) -> None:
    asked = ("advise", six, "-m", "fedavg,fedavg_ft,fedper", "--seeds", "0,1,2,3", "-o")
    made_up.stop_at = "fedper-seed3"  # in the second rung
    assert fedtap(*asked, tmp_path / "halves").code == 130
    assert not (tmp_path / "halves" / "advice.json").exists()
    done = {name for batch in made_up.batches for name in batch} - {"fedper-seed3", "local-seed3"}
    made_up.stop_at, made_up.batches = "", []
    assert fedtap(*asked, tmp_path / "halves").code == 0
    assert made_up.batches[0] == []
    assert not {name for batch in made_up.batches for name in batch} & done
    assert fedtap(*asked, tmp_path / "whole").code == 0
    for name in ("advice.json", "advice.md", "comparison.json"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_fails_leaves_its_method_out_and_is_tried_again(
    six: Path, tmp_path: Path, fedtap: Command, made_up: MadeUp
) -> None:
    out = tmp_path / "out"
    asked = ("advise", six, "-m", "fedavg,fedper", "--seeds", "0,1", "-o", out)
    made_up.failing = {"fedper-seed1"}
    called = fedtap(*asked)
    assert called.code == 1
    last = called.err.splitlines()[-1]
    assert "1 of 6 runs failed (fedper-seed1)" in last
    assert "advice.md is over the methods that have all their runs" in last
    found = json.loads((out / "advice.json").read_text())
    assert found["incomplete"] == [{"method": "fedper", "why": "seed 1: made to fail"}]
    assert {row["method"] for row in found["rows"]} == {"local", "fedavg"}
    made_up.failing = set()
    assert fedtap(*asked).code == 0
    assert made_up.batches[-1] == ["fedper-seed1"]
    assert {row["method"] for row in AdviceResult.open(out)["rows"]} == {"local", "fedavg", "fedper"}
    # the base fails in the second rung: what the first one said is what there is to say
    made_up.failing = {"local-seed3"}
    assert fedtap("advise", six, "-m", "fedavg_ft,fedper", "--seeds", "0,1,2,3", "-o", tmp_path / "late").code == 1
    assert json.loads((tmp_path / "late" / "advice.json").read_text())["seeds"] == [0, 1, 2]


def test_without_the_base_there_is_no_advice(six: Path, tmp_path: Path, fedtap: Command, made_up: MadeUp) -> None:
    made_up.failing = {"local-seed0"}
    called = fedtap("advise", six, "-m", "fedavg", "--seeds", "0", "-o", tmp_path / "out")
    assert called.code == 1
    assert "too little is left to compare" in called.err
    assert not (tmp_path / "out" / "advice.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", "fedvag"), "no method 'fedvag'; did you mean 'fedavg'?"),
        (("-m", "local"), "nothing to choose between but 'local'"),
        (("-m", "fedavg,probe"), "'probe' cannot serve client 'asker', task 'ask'"),
        (("-m", "fedavg,fedper", "--budget", "2"), "--budget 2: a run of each of the 3 methods takes 3; give that at"),
        (("--budget", "0"), "--budget"),
        (("--tolerance", "-1"), "--tolerance -1.0: give points of percent"),
        (("--tolerance", "nan"), "--tolerance nan: give points of percent"),
        (("--seeds", "0,x"), "--seeds 0,x: give whole numbers"),
        (("--set", "roundz=3"), "did you mean 'rounds'?"),
        (("-m", "fedavg", "--device", "warp"), "--device warp"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_before_anything_runs(
    arguments: tuple[str, ...], says: str, tiny: Path, tmp_path: Path, fedtap: Command, made_up: MadeUp
) -> None:
    called = fedtap("advise", tiny, "-o", tmp_path / "out", *arguments)
    assert called.code == 2
    assert says in called.err.splitlines()[-1]
    assert "Traceback" not in called.err
    assert made_up.batches == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.pop("rows"),
        lambda told: told.update(rows=[{"method": "x"}]),
        lambda told: told.update(use="nobody", kept=["nobody"]),
        lambda told: told.update(more={"methods": 3}),
    ],
)
def test_a_file_that_somebody_else_has_written_is_refused_in_one_line(
    spoil: Callable[[dict[str, Any]], object], six: Path, tmp_path: Path, fedtap: Command, made_up: MadeUp
) -> None:
    from fedtap import UserError

    out = tmp_path / "out"
    assert fedtap("advise", six, "-m", "fedavg", "--seeds", "0,1", "-o", out).code == 0
    told = json.loads((out / "advice.json").read_text())
    spoil(told)
    (out / "advice.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"advice\.json: "):
        AdviceResult.open(out)
