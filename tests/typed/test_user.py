"""The public names have types that a user's type checker understands: right use passes, wrong use is told.

With libraries' types left out, so that it takes seconds; `make check` has mypy look at the same file with all of them.
"""

import json
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

result = fedtap.RunResult.open("runs/x")
result.metod
fedtap.run("quickstart", sed=3)
fedtap.compare("quickstart", seeds=("one",), out="runs/x")
number: int = result.report
fedtap.nothing
"""
LINES = (5, 6, 7, 8, 9)
TOLD = ('"metod"', '"sed"', "Sequence[int]", 'expression has type "Path"', '"nothing"')


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
    for number, text in zip(LINES, TOLD, strict=True):
        assert any(line.startswith(f"wrong.py:{number}:") and text in line for line in lines), (text, lines)


@pytest.mark.slow
def test_pyright_takes_a_users_file_and_tells_what_is_wrong_in_another(tmp_path: Path) -> None:
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    shutil.copy(USER, tmp_path / "user.py")
    (tmp_path / "wrong.py").write_text(WRONG)
    settings = {"extraPaths": [str(ROOT / "src")], "include": ["user.py", "wrong.py"], "typeCheckingMode": "standard"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [pyright, "-p", str(tmp_path), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    told = json.loads(done.stdout)["generalDiagnostics"]
    found = {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in told}
    assert found == {("wrong.py", line) for line in LINES}, told
