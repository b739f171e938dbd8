"""What finished runs left: who is complete, who is left out and why."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from builders import scenario_of
from fedtap.experiment.provenance import commit
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import write_manifest
from fedtap.runtime.sealed import write_sealed_json
from fedtap.runtime.storage import json_bytes, write_bytes, write_json
from fedtap.study.batch import Job
from fedtap.study.outcome import COUNTED, cost_rows, gather

RECORD = {
    "run": "r",
    "kind": "k",
    "method": "tap",
    "deployed": "personal",
    "seed": 0,
    "config": {},
    "environment": {},
    "data": {},
    "code": None,
}


def row(client: str, **changes: Any) -> dict[str, Any]:
    about = {"client": client, "task": "digits", "model": "personal", "split": "test"}
    return {**about, "metric": "accuracy", "value": 0.5, **changes}


def job(folder: Path, name: str, seed: int, rows: list[dict[str, Any]] | None, steps: int = 10) -> Job:
    made = Job(f"{name}-seed{seed}", scenario_of(), seed, folder / f"{name}-seed{seed}")
    if rows is not None:
        cost = {"steps_total": steps, "bytes_down": 4, "bytes_up": 2, "seconds": 1.0, "peak_rss_bytes": 1}
        write_json(made.out / "cost.json", cost)
        write_bytes(made.out / "report.html", b"")
        # as other software might write it: fedtap itself writes no infinite value
        text = (
            str({"rows": rows})
            .replace("'", '"')
            .replace("inf", "Infinity")
            .replace("None", "null")
            .replace("True", "true")
        )
        write_bytes(made.out / "results.json", text.encode())
        write_sealed_json(made.out / "run.json", RECORD, {"what": "run", "run": "r"})
        write_manifest(
            made.out, "r", {"cost.json": json_bytes(cost)}, {"results.json": hashlib.sha256(text.encode()).hexdigest()}
        )
    return made


def test_a_method_without_all_its_runs_is_left_out(tmp_path: Path) -> None:
    jobs = {
        "local": [job(tmp_path, "local", 0, [row("a")]), job(tmp_path, "local", 1, [row("a")], steps=20)],
        "tap": [job(tmp_path, "tap", 0, [row("a")]), job(tmp_path, "tap", 1, None)],
    }
    found = gather(jobs, {"tap-seed1": "no space left"})
    assert found.labels == ["local"]
    assert found.incomplete == {"tap": "seed 1: no space left"}
    assert [(run.method, run.seed) for run in found.runs] == [("local", 0), ("local", 1)]
    assert cost_rows(found, COUNTED) == [{"method": "local", "steps_total": 15, "bytes_down": 4, "bytes_up": 2}]


def test_a_method_that_diverged_is_left_out(tmp_path: Path) -> None:
    found = gather({"tap": [job(tmp_path, "tap", 3, [row("a"), row("b", value=None)])]}, {})
    assert found.incomplete == {"tap": "seed 3: accuracy of client 'b', task 'digits' is None"}
    assert found.runs == []


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (row("b", value=float("inf")), "not finite"),
        (row("b", value=True), "should be a number"),
        (row("b", value=1e300), "less than or equal"),
        (row("b", model=["personal"]), "valid string"),
        (row("b", n=-1), "greater than or equal"),
        ({"client": "a"}, "Field required"),
    ],
)
def test_results_that_no_run_writes_are_one_line(tmp_path: Path, bad: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=rf"results\.json: .*{why}"):
        gather({"tap": [job(tmp_path, "tap", 3, [row("a"), bad])]}, {})


def test_a_method_that_is_silent_where_it_could_speak_is_left_out(tmp_path: Path) -> None:
    jobs = {
        "local": [job(tmp_path, "local", 0, [row("a"), row("b")])],
        "lost": [job(tmp_path, "lost", 0, [row("a")])],
        "part": [job(tmp_path, "part", 0, [row("a")])],
        "none": [job(tmp_path, "none", 0, [])],
    }
    found = gather(jobs, {})
    both = frozenset({("a", "digits"), ("b", "digits")})
    served = {"local": both, "lost": both, "part": frozenset({("a", "digits")}), "none": frozenset()}
    found.drop_silent("local", dict.fromkeys(jobs, "personal"), served)
    assert found.labels == ["local", "part"]
    assert found.incomplete == {
        "lost": "seed 0: no result for client 'b', task 'digits', split 'test'",
        "none": "it can serve none of the tasks",
    }
    assert {run.method for run in found.runs} == {"local", "part"}


def test_a_folder_that_only_lies_within_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
