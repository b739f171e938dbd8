"""What a failure looks like: an exit code, one line on standard error, no traceback, and the mend."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fedtap as library
from fedtap.cli import main
from fedtap.runtime.errors import RunError
from tiny_federation import called

SCENARIO = """
rounds: 2
backbone: {vision: untrained-tiny, text: untrained-tiny, image_size: 32}
clients:
  - id: a
    tasks: [{name: digits, type: classification, modality: image, domain: digits, source: digits}]
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "one.yaml"
    path.write_text(SCENARIO)
    return path


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what stands on standard error, having checked that it is one line and that nothing else was said."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err.strip()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "'rnu'"),
        (["run"], "SCENARIO"),
        (["run", "x.yaml", "--sed", "1"], "--seed"),
        (["run", "x.yaml", "--seed", "one"], "--seed"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such scenario"),
        (["report", "nowhere"], "nowhere: no such folder"),
        (["scenario", "lst"], "'lst'"),
        (["scenario", "list", "nowhere"], "nowhere: no such folder"),
        (["methods", "tpa"], "did you mean 'tap'?"),
        (["predict", "run", "--client", "c"], "run: there is no such folder"),
        (["predict", "run", "--client", "c", "--task", "t", "--image", "no.png"], "--image no.png: no such file"),
        (["predict", "run", "--client", "c", "--task", "t", "--to", "a.jpg"], "ends in .png"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(*arguments) == 2
    assert expected in complaint(capsys)


@pytest.mark.parametrize(
    "setting", ["rounds=0", "rounds=many", "network.dmi=3", "method.margn=1", "rounds", "clients=[]"]
)
@pytest.mark.parametrize("command", [["run"], ["scenario", "validate"]])
def test_a_wrong_setting_is_named(
    command: list[str], setting: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(*command, scenario, "--set", setting) == 2
    assert setting.partition("=")[0].rpartition(".")[2] in complaint(capsys)


def test_an_unknown_method_is_named_with_the_nearest(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option is named, not the file, which says nothing of that method."""
    for command in (("run",), ("scenario", "validate")):
        assert called(*command, scenario, "--method", "fedvag") == 2
        assert "fedtap: --method: no method 'fedvag'; did you mean 'fedavg'?" in complaint(capsys)


def test_a_source_that_cannot_serve_a_task_is_named_before_any_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(SCENARIO.replace("modality: image", "modality: text"))
    assert called("scenario", "validate", path) == 2
    assert "client 'a', task 'digits', source 'digits'" in complaint(capsys)


def failing(error: BaseException) -> Any:
    def run(*_: Any, **__: Any) -> Any:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (RunError("events.jsonl: no space left\nto write"), 1, "fedtap: events.jsonl: no space left to write"),
        (MemoryError(), 1, "batch_size"),
        (PermissionError(errno.EACCES, "Permission denied", "/somewhere"), 1, "/somewhere: Permission denied"),
        (KeyboardInterrupt(), 130, "--resume"),
    ],
)
def test_a_failed_run_is_one_line_and_its_exit_code(
    error: BaseException,
    code: int,
    expected: str,
    scenario: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(library, "run", failing(error))
    assert called("run", scenario, "--out", "runs/mine") == code
    said = complaint(capsys)
    assert expected in said
    if code == 130:
        assert "--out runs/mine --resume" in said


def test_a_mistake_of_ours_is_not_hidden(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "run", failing(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        main(["run", str(scenario)])


def test_the_process_itself_leaves_with_the_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedtap", "report", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == f"fedtap: {tmp_path / 'nowhere'}: no such folder; give the folder of a run made by `fedtap run`\n"
    )
