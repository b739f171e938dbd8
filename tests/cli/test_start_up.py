"""What a command does not load: what takes seconds is taken only where it is used. And how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthetic_run import write_run

ROOT = Path(__file__).parents[2]
QUICKSTART = "scenarios/quickstart.yaml"
TELL = """
import sys
from fedtap.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""
STEP = """
import sys, torch
from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.loop import make_optimizer
weight = torch.nn.Parameter(torch.ones(3))
for name in ("adamw", "sgd"):
    weight.grad = torch.ones(3)
    make_optimizer([weight], TrainingSettings(optimizer=name)).step()
print(*sys.modules, file=sys.stderr)
"""
SLOW = {"scipy", "sklearn", "pandas", "transformers", "peft", "matplotlib", "torchmetrics", "sympy", "torch._dynamo"}


def called(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


def loaded(code: str, *arguments: str) -> set[str]:
    done = called("-c", code, *arguments)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help")])
def test_help_loads_next_to_nothing(arguments: tuple[str, ...]) -> None:
    found = loaded(TELL, *arguments)
    assert "fedtap.cli.app" in found
    assert not found & {*SLOW, "torch", "numpy", "pydantic", "yaml", "psutil", "importlib.metadata"}


@pytest.mark.parametrize("arguments", [("scenario", "list"), ("scenario", "show", QUICKSTART)])
def test_scenarios_are_read_without_torch(arguments: tuple[str, ...]) -> None:
    found = loaded(TELL, *arguments)
    assert "fedtap.scenario.scenario" in found
    assert not found & {*SLOW, "torch", "numpy"}


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_slip_in_a_scenario_is_told_without_torch(command: str) -> None:
    found = loaded(TELL, "scenario", command, QUICKSTART, "--set", "roundz=3")
    assert "fedtap.scenario.scenario" in found
    assert not found & {*SLOW, "torch", "numpy"}


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_scenario_is_checked_without_what_takes_longer_than_torch(command: str) -> None:
    found = loaded(TELL, "scenario", command, QUICKSTART)
    assert "fedtap.experiment.planning" in found
    assert not found & SLOW


LIVE = "import sys, fedtap.reporting.live.companion; print(*sys.modules, file=sys.stderr)"


def test_pages_are_made_without_torch(tmp_path: Path) -> None:
    """Who reads a report, or watches a run beside the process that trains, does not wait for what trains."""
    run = write_run(tmp_path / "run")
    found = loaded(TELL, "report", str(run))
    assert "fedtap.reporting.run.report" in found
    assert (run / "report.html").stat().st_size > 10_000
    live = loaded(LIVE)
    assert "fedtap.reporting.live.server" in live
    assert not found & {*SLOW, "torch"} - {"matplotlib", "scipy"}  # figures, and what chance is
    assert not live & {*SLOW, "torch", "numpy"}


def test_a_step_of_an_optimizer_loads_no_compiler() -> None:
    found = loaded(STEP)
    assert "torch.optim" in found
    assert not found & SLOW


def test_the_process_ends_at_once_with_its_code_and_all_its_output() -> None:
    done = called("-m", "fedtap", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fedtap ")
    refused = called("-c", f"import atexit; atexit.register(print, 'left'); {LEAVING}")
    assert (refused.returncode, refused.stdout) == (2, "left\n")
    assert "No such option" in refused.stderr


LEAVING = "import sys; sys.argv = ['fedtap', '--nonsense']; from fedtap.cli import main; main()"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_output_that_cannot_be_written_is_told() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fedtap", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("fedtap: No space left on device")
    assert done.stderr.count("\n") == 1
