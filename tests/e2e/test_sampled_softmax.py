"""`network.text_generation.softmax: sampled` in a whole run: another training, the same bytes each time, exact tests."""

from pathlib import Path

import pytest

import fedtap as package
from e2e.conftest import rows
from tiny_federation import write_scenario

pytestmark = pytest.mark.usefixtures("no_report")
SAMPLED = ["network.text_generation={softmax: sampled, shortlist: 32}"]


def test_it_trains_otherwise_and_ends_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path, rounds=2)
    for name, settings in (("one", SAMPLED), ("two", SAMPLED), ("full", [])):
        package.run(scenario, method="fedavg", out=tmp_path / name, overrides=settings)
    one, two, full = ((tmp_path / name / "results.json").read_bytes() for name in ("one", "two", "full"))
    assert one == two
    assert one != full
    losses = {
        name: [
            row["value"] for row in rows(tmp_path / name) if row["metric"] == "cross_entropy" and row["task"] == "ask"
        ]
        for name in ("one", "full")
    }
    assert losses["one"]
    assert losses["one"] == pytest.approx(losses["full"], rel=0.2)  # a few steps apart, measured alike
