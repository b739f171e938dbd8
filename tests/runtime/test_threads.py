"""How threads wait: what the command sets, when, and what of the user's it leaves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fedtap.runtime.threads import cores, share_cores


@pytest.mark.parametrize("said", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_the_user_says_stays(said: dict[str, str]) -> None:
    environment = dict(said)
    share_cores(environment)
    assert environment == said


def test_threads_soon_give_their_core_away() -> None:
    environment: dict[str, str] = {}
    share_cores(environment)
    assert environment == {"GOMP_SPINCOUNT": "1000"}


def test_the_command_says_so_before_torch_is_loaded() -> None:
    code = """
import importlib, os, sys
app = importlib.import_module("fedtap.cli.app")

def spied(real=app.share_cores):
    print("torch" in sys.modules)
    real()

app.share_cores = spied
try:
    app.main(["methods"])
except SystemExit:
    print(os.environ["GOMP_SPINCOUNT"])
"""
    bare = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    lines = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True).stdout
    assert lines.splitlines()[0] == "False"
    assert lines.splitlines()[-1] == "1000"


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
