"""What tests of commands over many runs share: a tiny scenario, runs without processes of their own, and ways to call them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fedtap as library
from fedtap.cli import main
from fedtap.study.batch import Job
from tiny_federation import write_scenario

TWO_SITES = """
rounds: 2
clients_per_round: 2
local_steps: 2
backbone: {vision: untrained-tiny, text: untrained-tiny, image_size: 32}
network: {dim: 8, heads: 2, expert_dim: 8, domain_dim: 4}
training: {finetune_steps: 2, select_every: 1}
data: {train: 16, validation: 8, test: 8}
clients:
  - id: a
    tasks: [{name: digits, type: classification, modality: image, domain: digits, source: digits}]
  - id: b
    tasks: [{name: digits, type: classification, modality: image, domain: digits, source: digits}]
"""


class Called(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Called]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny scenario's file; it is not to be changed."""
    return write_scenario(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a scenario of two sites with real digits, which may be changed, and have a cache of its own."""
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tiny.yaml"
    path.write_text(TWO_SITES)
    return path


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a feature cache for all tests that use the tiny scenario."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def fedtap(capsys: pytest.CaptureFixture[str], tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that calls the command."""
    monkeypatch.setenv("FEDTAP_CACHE", str(tiny_cache))

    def call(*arguments: object) -> Called:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return Called(int(left.value.code or 0), *capsys.readouterr())

    return call


class Done(list[str]):
    """The names of the runs that the last batch did; those in ``failing`` are not done, but fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()


@pytest.fixture
def done_here(monkeypatch: pytest.MonkeyPatch) -> Done:
    """Do a batch's runs in this process, without reports, and return which were done."""
    done = Done()

    def run_batch(jobs: Sequence[Job], *, observers: Sequence[Any] = (), **_: Any) -> dict[str, str]:
        failed = {job.name: "made to fail" for job in jobs if job.name in done.failing}
        done.clear()
        for job in jobs:
            if job.name not in failed and not job.finished():
                library.run(job.scenario, seed=job.seed, out=job.out, resume="auto", device="cpu")
                done.append(job.name)
        return failed

    monkeypatch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
    monkeypatch.setattr("fedtap.study.folder.run_batch", run_batch)
    return done
