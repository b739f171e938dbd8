"""The demonstration: what it runs, and what it says where it cannot; scenarios by name; completion and examples of the help."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedtap.cli import main
from fedtap.cli.start import demo
from fedtap.runtime.installing import install

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return called


def test_the_demo_is_a_run_of_the_quickstart_with_all_cores(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("fedtap.cli.run.run", lambda scenario, **given: asked.append({"scenario": scenario, **given}))
    code, out, _ = call("demo", "--set", "rounds=1")
    assert code == 0
    assert asked == [
        {
            "scenario": Path("quickstart"),
            "out": Path("runs/quickstart"),
            "settings": ["rounds=1"],
            "resume": "auto",
            "workers": "auto",
        }
    ]
    assert out == "Now open runs/quickstart/report.html in a browser.\n"
    Path("runs/quickstart").mkdir(parents=True)
    Path("runs/quickstart/results.json").write_text("{}")
    code, out, _ = call("demo")
    assert (code, len(asked)) == (0, 1)
    assert out.splitlines()[0].startswith("runs/quickstart holds a finished run already; to run it again: ")


def test_what_the_demo_lacks_is_said_before_it_begins(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "MODULES", ("no_such_weights", "no_such_data"))
    code, out, err = call("demo")
    assert (code, out) == (2, "")
    assert err == f"fedtap: the demonstration needs no-such-weights, no-such-data; run: {install('quickstart')}\n"


def test_the_modules_are_those_of_the_extra() -> None:
    from fedtap.cli.start.doctor import EXTRAS

    assert sorted(name.replace("_", "-") for name in demo.MODULES) == sorted(EXTRAS["quickstart"])


def test_the_list_has_what_comes_with_fedtap_and_what_is_here(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("scenario", "list", "--json")
    found = {each["name"]: each for each in json.loads(out)}
    assert code == 0
    assert found.keys() == {path.stem for path in (ROOT / "scenarios").iterdir()}
    assert found["quickstart"]["file"] == str(ROOT / "scenarios" / "quickstart.yaml")
    text = (ROOT / "scenarios" / "scale.yaml").read_text(encoding="utf-8")
    for place in (tmp_path / "scenarios" / "mine.yaml", tmp_path / "quickstart.yaml"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")
    words = [line.split()[0] for line in call("scenario", "list")[1].splitlines()[3:] if line.strip()]
    assert "scale" in words
    assert words[-1] == "scenarios/mine.yaml"
    # `quickstart` means the file of this folder now, so the one that comes with fedtap is listed by its path.
    assert str(ROOT / "scenarios" / "quickstart.yaml") in words


def test_in_the_checkout_the_list_has_each_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    files = [each["file"] for each in json.loads(call("scenario", "list", "--json")[1])]
    assert files == sorted(f"scenarios/{path.name}" for path in (ROOT / "scenarios").iterdir())


def test_a_file_in_the_way_is_said(call: Call, tmp_path: Path) -> None:
    assert call("scenario", "validate", "quickstart")[2] == ""
    text = (ROOT / "scenarios" / "scale.yaml").read_text(encoding="utf-8")
    (tmp_path / "quickstart.yaml").write_text(text, encoding="utf-8")
    code, _, err = call("scenario", "validate", "quickstart")
    assert code == 0
    assert err == (
        "fedtap: quickstart: taken for the file quickstart.yaml of this folder, not for what comes with fedtap under that name\n"
    )


@pytest.mark.parametrize("group", [("run",), ("scenario", "list"), ("compare",)])
def test_an_example_has_a_line_of_its_own(call: Call, group: tuple[str, ...]) -> None:
    text = call(*group, "--help")[1]
    lines = [line for line in text.partition("Examples")[2].splitlines() if "fedtap " in line]
    assert len(lines) > 1
    assert all(line.count("fedtap ") == 1 for line in lines)


def test_a_shell_is_offered_names_files_and_folders(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "quarter").mkdir()
    (tmp_path / "quiet.yaml").touch()
    (tmp_path / "quiet.txt").touch()
    monkeypatch.setenv("_FEDTAP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "fedtap run qu")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert call()[1].split() == ["quickstart", "quarter", "quiet.yaml"]
    monkeypatch.setenv("COMP_WORDS", "fedtap run no-folder/qu")
    assert call()[1].split() == []


def test_completion_can_be_shown_and_installed(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "complete -o default -F _fedtap_completion fedtap" in call("--show-completion", "bash")[1]
    assert call("--install-completion", "bash")[0] == 0
    assert "fedtap" in (tmp_path / ".bashrc").read_text(encoding="utf-8")
