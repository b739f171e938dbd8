"""Whether what is installed is new enough, and what a command says where a package is missing."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fedtap.cli.start import doctor, versions
from fedtap.cli.start.versions import Need, fits, needs

ROOT = Path(__file__).parents[3]
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from fedtap.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("version", "wanted", "right"),
    [
        ("2.6.0", ">=2.6", True),
        ("2.13.0+cpu", ">=2.6", True),
        ("2.5.9", ">=2.6", False),
        ("1.41.3", ">=1.41,<1.42", True),
        ("1.42.0", ">=1.41,<1.42", False),
        ("0.1.0", "==0.1.0", True),
        ("0.1.1", "==0.1.0", False),
        ("1", ">=1.0.0", True),
        ("9", "", True),
    ],
)
def test_a_version_is_held_against_its_bounds(version: str, wanted: str, right: bool) -> None:
    assert fits(version, wanted) is right


def test_only_what_is_always_needed_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2.6", "numpy >=1.26", 'nothing-such>=3; extra == "text"', "nothing-such>=3"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(metadata, "version", {"torch": "2.5.1", "numpy": "2.0"}.__getitem__)
    with pytest.raises(KeyError):
        needs()

    def version(package: str) -> str:
        known = {"torch": "2.5.1", "numpy": "2.0"}
        if package not in known:
            raise metadata.PackageNotFoundError(package)
        return known[package]

    monkeypatch.setattr(metadata, "version", version)
    assert needs() == [
        Need("torch", ">=2.6", "2.5.1", right=False),
        Need("numpy", ">=1.26", "2.0", right=True),
        Need("nothing-such", ">=3", None, right=False),
    ]
    told = doctor._packages()
    assert told.startswith("fault: torch 2.5.1 (takes >=2.6), nothing-such missing (takes >=3); get them with: ")
    assert told.endswith('pip install "torch>=2.6" "nothing-such>=3"')
    lines[:] = ["numpy>=1.26"]
    assert doctor._packages() == "all 1 that fedtap needs are here, in versions that it takes"


def test_a_copy_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert versions.needs() == []
    assert doctor._packages().startswith("not looked at: this copy of fedtap is not installed")


def test_the_doctor_survives_without_torch_and_other_commands_say_what_is_missing(tmp_path: Path) -> None:
    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", WITHOUT, "torch", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = call("doctor")
    assert done.returncode == 0, done.stderr
    assert "package torch is not installed; get it with: " in done.stdout
    assert "[quickstart]" in done.stdout
    done = call("scenario", "plan", "quickstart")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fedtap: package torch is not installed; run: ")
    assert done.stderr.count("\n") == 1
