"""The line that installs an optional part, for where this copy of fedtap is and which pip is meant."""

import shlex
import sys
from pathlib import Path

import pytest

from fedtap.runtime import installing
from fedtap.runtime.installing import install, install_package, pip

ROOT = Path(__file__).parents[2]


def test_in_the_checkout_it_takes_the_tested_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert install("xlsx") == f'{pip()} install -c constraints.txt -e ".[xlsx]"'


def test_elsewhere_it_names_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(install("xlsx"))
    assert words[-5:] == ["install", "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[xlsx]"]


def test_a_copy_of_the_index_is_asked_for_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "lib" / "site-packages" / "fedtap" / "runtime" / "installing.py"
    monkeypatch.setattr(installing, "__file__", str(place))
    assert install("xlsx") == f'{pip()} install "fedtap[xlsx]"'


def test_the_pip_is_that_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip").write_text("#!/bin/sh\n")
    (tmp_path / "pip").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(install_package("torch")) == [sys.executable, "-m", "pip", "install", "torch"]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert pip() == "pip"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/a b/python")
    assert pip() == "'/a b/python' -m pip"


def test_a_current_folder_that_is_gone_is_not_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert str(ROOT) in install("xlsx")
