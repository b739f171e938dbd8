"""``fedtap compare``: what it refuses, what it runs, what it writes. With real processes: test_compare_processes.py."""

import json
from pathlib import Path

import pytest

from cli.conftest import Command, Done
from fedtap import ComparisonResult
from fedtap.algorithms import outside


def test_two_methods_two_seeds(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    out = tmp_path / "out"
    called = fedtap("compare", tiny, "--methods", "fedavg_ft,probe", "--seeds", "0,1", "--out", out)
    assert called.code == 0, called.err
    names = [f"{method}-seed{seed}" for seed in (0, 1) for method in ("local", "fedavg_ft", "probe")]
    assert done_here == names
    assert "'local' is added" in called.err
    found = json.loads((out / "comparison.json").read_text())
    assert {"method", "family", "metric", "mean", "ci95", "seeds"} <= found["rows"][0].keys()
    assert {"method", "delta_percent", "ci95"} <= found["delta"][0].keys()
    assert [row["method"] for row in found["delta"]] == ["fedavg_ft", "probe"]
    assert set(found["splits"]) == {"test", "cross", "unseen"}
    assert [row["method"] for row in found["costs"]] == ["local", "fedavg_ft", "probe"]
    assert found["costs"][0]["bytes_down"] == 0
    served = {row["method"]: (row["client_tasks"], row["of"]) for row in found["delta"]}
    assert served == {"fedavg_ft": (6, 6), "probe": (4, 6)}
    text = (out / "comparison.json").read_text()
    assert "NaN" not in text
    assert str(tmp_path) not in text
    assert not list((out / "runs").glob("*/clients"))  # models only where they are asked for

    # the delta is that of the runs' own results
    values = {}
    for method, model in (("local", "personal"), ("fedavg_ft", "finetuned")):
        for seed in (0, 1):
            rows = json.loads((out / "runs" / f"{method}-seed{seed}" / "results.json").read_text())["rows"]
            values[method, seed] = {
                (row["client"], row["task"], row["metric"]): row["value"]
                for row in rows
                if row["model"] == model
                and row["split"] == "test"
                and row["metric"] in ("accuracy", "mse", "exact_match")
            }
    gains = [
        (1 if key[2] != "mse" else -1) * 100 * (values["fedavg_ft", seed][key] - base) / base
        for seed in (0, 1)
        for key, base in values["local", seed].items()
        if base
    ]
    assert found["delta"][0]["delta_percent"] == pytest.approx(sum(gains) / len(gains))

    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    assert fedtap("compare", tiny, "-m", "local,probe,tap:distil=off", "--seeds", "0,1", "-o", out).code == 0
    assert done_here == ["tap-distil=off-seed0", "tap-distil=off-seed1"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_method_of_ones_own_comes_from_a_file(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    own = Path(__file__).parents[2] / "docs" / "examples" / "fedavgm.py"
    before, out = dict(outside._held), tmp_path / "out"
    try:
        called = fedtap("compare", tiny, "-m", f"local,{own}", "--against", own, "--set", "rounds=1", "-o", out)
    finally:
        outside._held.clear()
        outside._held.update(before)
    assert called.code == 0, called.err
    assert done_here == ["local-seed0", "fedavgm-seed0"]
    found = ComparisonResult.open(out)
    assert (found.methods, found["against"]) == (["local", "fedavgm"], "fedavgm")
    assert found.run("fedavgm").method == "fedavgm"
    assert str(own) not in (out / "comparison.json").read_text()


def test_a_failed_run_is_named_and_its_method_left_out(
    tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done
) -> None:
    done_here.failing.add("fedavg-seed1")
    called = fedtap("compare", tiny, "-m", "local,fedavg,probe", "--seeds", "0,1", "-o", tmp_path / "out")
    assert called.code == 1
    last = called.err.splitlines()[-1]
    assert "1 of 6 runs failed (fedavg-seed1)" in last
    assert "made to fail" in last
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found["incomplete"] == [{"method": "fedavg", "why": "seed 1: made to fail"}]
    assert [row["method"] for row in found["delta"]] == ["probe"]
    assert "fedavg" in (tmp_path / "out" / "comparison.html").read_text()


def test_without_the_base_nothing_is_compared(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    done_here.failing.add("local-seed0")
    called = fedtap("compare", tiny, "-m", "probe", "-o", tmp_path / "out")
    assert called.code == 1
    assert "too little is left to compare" in called.err
    assert not (tmp_path / "out" / "comparison.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", "fedvag"), "no method 'fedvag'; did you mean 'fedavg'?"),
        (("-m", "tap:gat=paired"), "unknown key 'gat'; did you mean 'gate'?"),
        (("-m", "tap:gate=pairde"), "'gate'"),
        (("-m", "tap:"), "write NAME or NAME:key=value"),
        (("-m", "tap:data.train=5"), "must be the same for all methods"),
        (("-m", "tap:name=probe"), "'name' must be the same"),
        (("-m", "tap,tap:gate=margin"), "is the same as 'tap'"),
        (("-m", "tap", "--seeds", "0,x"), "--seeds 0,x: give whole numbers"),
        (("-m", "tap", "--against", "ditto"), "is not among the methods"),
        (("-m", "tap", "--set", "roundz=3"), "did you mean 'rounds'?"),
        (("-m", "tap", "--device", "warp"), "--device warp"),
        (("-m", "tap", "--jobs", "0"), "--jobs"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_runs(
    arguments: tuple[str, ...], says: str, tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done
) -> None:
    called = fedtap("compare", tiny, "-o", tmp_path / "out", *arguments)
    assert called.code == 2
    assert says in called.err.splitlines()[-1]
    assert "Traceback" not in called.err
    assert done_here == []
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_runs_is_refused(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    assert fedtap("compare", tiny, "-m", "local,probe", "-o", tmp_path / "out").code == 0
    called = fedtap("compare", tiny, "-m", "local,probe", "-o", tmp_path / "out", "--set", "training.lr=0.5")
    assert called.code == 2
    assert "holds runs with another config.training.lr" in called.err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    called = fedtap("compare", tiny, "-m", "local,probe", "-o", tmp_path / "other")
    assert called.code == 2
    assert "is not empty and holds no compar" in called.err


def test_two_commands_do_not_work_in_one_folder(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    from fedtap.runtime.lock import locked

    with locked(tmp_path / "out"):
        called = fedtap("compare", tiny, "-m", "local,probe", "-o", tmp_path / "out")
    assert called.code == 2
    assert "another fedtap is at work there" in called.err
    assert fedtap("compare", tiny, "-m", "local,probe", "-o", tmp_path / "out").code == 0
