"""The same federation on the CPU and on CUDA: the same decisions, and results that differ by rounding only."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from e2e.conftest import Command
from tiny_federation import write_scenario

pytestmark = [
    pytest.mark.usefixtures("no_report"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def decisions(run: Path) -> list[tuple[Any, ...]]:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    keys = ("round", "client", "task", "kind", "outcome")
    return [tuple(event[key] for key in keys) for event in events if event["event"] == "decision"]


@pytest.mark.parametrize("method", ["tap", "tap_best"])
def test_a_gpu_decides_as_the_cpu_does(method: str, tmp_path: Path, fedtap: Command) -> None:
    scenario = write_scenario(tmp_path)
    for device in ("cpu", "cuda"):
        done = fedtap("run", scenario, "--method", method, "--device", device, "--out", tmp_path / device)
        assert done.code == 0, done.err
    assert decisions(tmp_path / "cpu")
    assert decisions(tmp_path / "cuda") == decisions(tmp_path / "cpu")
    here, there = (json.loads((tmp_path / device / "results.json").read_text())["rows"] for device in ("cpu", "cuda"))
    for mine, theirs in zip(here, there, strict=True):
        assert theirs.keys() == mine.keys()
        if mine["metric"] in ("cross_entropy", "mse"):
            assert theirs["value"] == pytest.approx(mine["value"], rel=1e-3)
