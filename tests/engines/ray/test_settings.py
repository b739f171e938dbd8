"""What is said of Ray, wrong or where it is not installed: a line, before anything is done.

Ray at work: ``e2e/test_ray_runs.py``.
"""

from pathlib import Path
from typing import Any

import pytest

import fedtap
from fedtap.engines.ray import cluster
from fedtap.engines.ray.settings import RaySettings
from fedtap.runtime.errors import UserError


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 2.0, 0.0])
def test_parts_of_one_gpu_or_whole_ones(share: float) -> None:
    assert RaySettings(gpus_per_worker=share).device("auto") == ("cuda" if share else "cpu")


@pytest.mark.parametrize("share", [-1.0, 1.5, float("nan"), float("inf")])
def test_other_shares_are_refused(share: float) -> None:
    with pytest.raises(UserError, match=f"--gpus-per-worker {share:g}: give a part of one GPU"):
        RaySettings(gpus_per_worker=share)


@pytest.mark.parametrize(("device", "share"), [("cuda", 0.0), ("cuda:1", 0.0), ("cpu", 0.5)])
def test_a_device_that_a_worker_does_not_take_is_refused(device: str, share: float) -> None:
    with pytest.raises(UserError, match=f"--device {device} with --gpus-per-worker {share:g}"):
        RaySettings(gpus_per_worker=share).device(device)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ray_address": "auto"}, "--ray-address goes with --engine ray; leave it out, or choose that engine"),
        ({"gpus_per_worker": 0.5, "workers": 2}, "--gpus-per-worker goes with --engine ray"),
        ({"gpus_per_worker": 0.5, "engine": "flower"}, "--gpus-per-worker goes with --engine ray"),
        ({"engine": "ray", "workers": "two"}, "--workers two: give a number of 1 or more, or auto"),
        ({"engine": "rai"}, "--engine rai: not available; did you mean 'ray'?"),
    ],
)
def test_options_that_do_not_go_together(
    options: dict[str, Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=line[:60].replace("?", r"\?")):
        fedtap.run(tmp_path / "none.yaml", **options)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^--engine ray: package ray is not installed; run: .*pip install .*\[ray\]\S?$"
    ):
        fedtap.run(tmp_path / "none.yaml", engine="ray")
