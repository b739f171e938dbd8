"""The public names have types that a user's type checker understands: right use passes, wrong use is told.

With libraries' types left out, so that it takes seconds; `make check` has mypy look at the same file with all of them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = Path(__file__).with_name("user.py")
WRONG = """
import fedtap

result = fedtap.run("quickstart", sed=3)
result.metod
fedtap.compare("quickstart", seeds=("one",), out="runs/x")
number: int = result.report
fedtap.nothing
"""
TOLD = ('"sed"', '"metod"', "Sequence[int]", 'expression has type "Path"', '"nothing"')


@pytest.mark.slow
def test_mypy_takes_a_users_file_and_tells_what_is_wrong_in_another(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="the extra dev")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--no-site-packages",
        "--follow-imports=silent",
        f"--cache-dir={tmp_path / 'cache'}",
        "--no-error-summary",
        str(USER),
        str(wrong),
    ]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line for line in lines if not line.startswith("wrong.py:")] == []
    for number, text in zip((4, 5, 6, 7, 8), TOLD, strict=True):
        assert any(line.startswith(f"wrong.py:{number}:") and text in line for line in lines), (text, lines)


@pytest.mark.slow
def test_pyright_takes_a_users_file(tmp_path: Path) -> None:
    pyright = os.environ.get("FEDTAP_PYRIGHT") or shutil.which("pyright") or shutil.which("basedpyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    settings = f'{{"extraPaths": ["{ROOT / "src"}"], "include": ["{USER}"], "typeCheckingMode": "standard"}}'
    (tmp_path / "pyrightconfig.json").write_text(settings)
    command = [pyright, "-p", str(tmp_path), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout
