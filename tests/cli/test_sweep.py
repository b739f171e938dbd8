"""``fedtap sweep``: the runs that a cross product takes, each once; gains, lines; what it refuses."""

import json
from collections import Counter
from pathlib import Path

import pytest

from cli.conftest import Command, Done
from fedtap.scenario.scenario import load_scenario


@pytest.mark.thorough  # tests/study/test_comparison.py has gains over a base, by hand
def test_margins_beside_the_paired_gate(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    out = tmp_path / "out"
    sweep = ("sweep", tiny, "--vs", "tap:gate=paired", "--base", "local", "--out", out)
    called = fedtap(*sweep, "--set", "margin=0.001,10")
    assert called.code == 0, called.err
    assert sorted(done_here) == [
        "local-seed0",
        "tap-gate=paired-seed0",
        "tap-margin=0.001-seed0",
        "tap-margin=10-seed0",
    ]
    found = json.loads((out / "sweep.json").read_text())
    points = {point["setting"]: point for point in found["points"]}
    assert set(points) == {"tap, margin=0.001", "tap, margin=10", "tap:gate=paired", "local"}
    assert points["tap, margin=10"]["settings"] == {"margin": "10"}
    assert points["tap:gate=paired"]["settings"] == {}
    config = json.loads((out / "runs" / "tap-margin=10-seed0" / "run.json").read_text())["config"]
    assert config["method"]["margin"] == 10
    assert points["tap, margin=10"]["splits"]["test"]["gain"]["over"] == "local"
    assert points["local"]["splits"]["test"]["gain"] is None
    for name in ("sweep.html", "sweep.md", "costs.json"):
        assert (out / name).stat().st_size
    # another value goes into the same folder, and only it is run
    assert fedtap(*sweep, "--set", "margin=0.001,0.1,10").code == 0
    assert done_here == ["tap-margin=0.1-seed0"]


def test_without_a_base_gains_are_over_the_first_setting(
    tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done
) -> None:
    out = tmp_path / "out"
    arguments = ("-m", "local", "--set", "training.lr=0.001,0.1", "--set", "local_steps=1,2", "--set", "rounds=1")
    assert fedtap("sweep", tiny, *arguments, "-o", out).code == 0
    found = json.loads((out / "sweep.json").read_text())
    assert [point["settings"] for point in found["points"]] == [
        {"training.lr": lr, "local_steps": steps} for lr in ("0.001", "0.1") for steps in ("1", "2")
    ]
    assert {point["series"] for point in found["points"]} == {"local, local_steps=1", "local, local_steps=2"}
    first, *others = [point["splits"]["test"]["gain"] for point in found["points"]]
    assert first["delta_percent"] == 0
    assert all(other["over"] == found["points"][0]["setting"] for other in others)
    steps = [point["costs"]["steps_total"] for point in found["points"]]
    assert steps[0] == steps[2] < steps[1] == steps[3]
    assert found["config"]["rounds"] == 1


def test_numbers_of_clients_share_the_same_data(tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done) -> None:
    out = tmp_path / "out"
    assert fedtap("sweep", tiny, "-m", "probe", "--base", "local", "--set", "clients=4,6", "-o", out).code == 0
    found = json.loads((out / "sweep.json").read_text())
    assert [point["clients"] for point in found["points"]] == [4, 6, 4, 6]
    config = json.loads((out / "runs" / "probe-clients=6-seed0" / "run.json").read_text())["config"]
    assert config["clients"] == load_scenario(tiny, ["population=6"]).resolved()["clients"]
    per_task = Counter[str]()
    for client in config["clients"][:6]:
        per_task.update({task["name"]: task["train"] or config["data"]["train"] for task in client["tasks"]})
    assert per_task == {"mood": 24, "shade": 24, "redraw": 12, "ask": 12}  # 12 for each of the holders that are listed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "rounds=3"), "no setting has several values"),
        (("--set", "margn=1,2"), "unknown key 'margn'; did you mean 'margin"),
        (("--set", "training.lrr=1,2"), "unknown key 'training.lrr'; did you mean 'lr'?"),
        (("--set", "rounds=1,,2"), "every value must be there once"),
        (("--set", "rounds=1,2,1"), "every value must be there once"),
        (("--set", "rounds=1,2", "--set", "rounds=3"), "'rounds' is given twice"),
        (("--set", "clients=4,many"), "a number of clients"),
        (("--set", "method=tap,local"), "`fedtap compare`"),
        (("--set", "rounds"), "give key=value"),
        (("--set", "rounds=1,2", "--vs", "tapp"), "--vs: no method 'tapp'; did you mean 'tap'?"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_runs(
    arguments: tuple[str, ...], says: str, tiny: Path, tmp_path: Path, fedtap: Command, done_here: Done
) -> None:
    called = fedtap("sweep", tiny, "-o", tmp_path / "out", *arguments)
    assert called.code == 2
    assert says in called.err.splitlines()[-1]
    assert done_here == []
    assert not (tmp_path / "out").exists()
