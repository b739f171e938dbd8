"""The page on writing a method: its code is that of the example, its commands run, and the method does what its rule says."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import fedtap as package
from e2e.conftest import Command, events, rows
from fedtap.algorithms import outside
from fedtap.algorithms.base import Algorithm, ServerState, Update
from fedtap.algorithms.base import Params as BaseParams
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning
from fedtap.algorithms.registry import algorithms, make
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.checkpoint import Checkpoint
from fedtap.runtime.errors import UserError

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "fedavgm.py"
PAGE = (DOCS / "add-a-method.md").read_text(encoding="utf-8")
A, B = ComponentKey("shared"), ComponentKey("head", ("mood",))


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    """Leave the methods as they were."""
    before = dict(outside._held)
    yield
    outside._held.clear()
    outside._held.update(before)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pages_code_is_that_of_the_file() -> None:
    example = EXAMPLE.read_text(encoding="utf-8")
    quoted = [block for block in blocks("python") if "import fedtap\n" not in block]
    assert len(quoted) == 4
    for block in quoted:
        assert block in example


def test_the_pages_runs_run(scenario: Path, tmp_path: Path, fedtap: Command, no_report: None) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("fedtap run ")]
    assert len(lines) == 2
    for number, line in enumerate(lines):
        places = {"scenarios/quickstart.yaml": str(scenario), "docs/examples/fedavgm.py": str(EXAMPLE)}
        words = [places.get(word, word) for word in line.split()[1:]]
        done = fedtap(*words, "--out", tmp_path / str(number))
        assert done.code == 0, done.err
        record = json.loads((tmp_path / str(number) / "run.json").read_text())
        assert record["method"] == record["config"]["method"]["name"] == "fedavgm"
        assert {row["model"] for row in rows(tmp_path / str(number))} >= {"federated", "finetuned"}
    assert record["config"]["method"]["momentum"] == 0.9
    assert record["seed"] == 1


class Cut(BaseException):
    """The process ends here."""


def test_momentum_survives_an_interruption(scenario: Path, tmp_path: Path, no_report: None) -> None:
    method = f"{EXAMPLE}:FedAvgM"
    whole = package.run(scenario, method=method, out=tmp_path / "whole")

    def watch(event: dict[str, object]) -> None:
        if event["event"] == "update" and event["round"] == 3:
            raise Cut

    with pytest.raises(Cut):
        package.run(scenario, method=method, out=tmp_path / "cut", observers=[watch])
    checkpoint = Checkpoint.load(tmp_path / "cut" / "checkpoint" / "server.safetensors")
    assert checkpoint is not None
    assert checkpoint.round == 2
    assert any(tensor.any() for _, _, tensor in checkpoint.state.kept["velocity"].tensors())
    assert package.run(scenario, method=method, out=tmp_path / "cut", resume=True) == whole
    files = ["results.json", "checkpoint/server.safetensors"]
    assert (tmp_path / "cut" / files[0]).read_bytes() == (tmp_path / "whole" / files[0]).read_bytes()
    ends = [Checkpoint.load(tmp_path / run / files[1]) for run in ("cut", "whole")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].state.kept["velocity"].equal(ends[1].state.kept["velocity"])
    assert len(events(tmp_path / "cut", "round_finished")) == 3


# --- the method ----------------------------------------------------------------------------------------------------------


def fedavgm(**params: float) -> Algorithm:
    return make({"name": "fedavgm", **params}, str(EXAMPLE))


def state(**values: float) -> ComponentState:
    keys = {"a": A, "b": B}
    return ComponentState({keys[name]: {"w": torch.tensor([value, -value])} for name, value in values.items()})


def test_three_rounds_by_hand() -> None:
    """Velocity and model of each component, written out; nobody holds the second one in round 2."""
    method = fedavgm(momentum=0.5, server_lr=2.0)
    server = ServerState(state(a=1.0, b=4.0))
    rounds = [
        ({"x": ({"a": 0.0, "b": 3.0}, 3), "y": ({"a": 4.0}, 1)}, {"a": 1.0, "b": 3.0}),  # means (3*0 + 4) / 4 and 3
        ({"y": ({"a": 3.0}, 2)}, {"a": 3.0}),
        ({"x": ({"a": 0.0, "b": 0.0}, 1)}, {"a": 0.0, "b": 0.0}),
    ]
    w, v = {"a": 1.0, "b": 4.0}, {"a": 0.0, "b": 0.0}
    for given, means in rounds:
        updates = {
            client: Update(held := state(**values), dict.fromkeys(held, count))
            for client, (values, count) in given.items()
        }
        server = method.aggregate(server, updates)
        for name, mean in means.items():
            v[name] = 0.5 * v[name] + (w[name] - mean)
            w[name] -= 2.0 * v[name]
        for name, key in (("a", A), ("b", B)):
            np.testing.assert_allclose(server.components[key]["w"].numpy(), [w[name], -w[name]], rtol=1e-6)
            np.testing.assert_allclose(server.kept["velocity"][key]["w"].numpy(), [v[name], -v[name]], rtol=1e-6)


def test_without_momentum_it_is_fedavg() -> None:
    server = ServerState(state(a=1.0, b=4.0))
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        made = server.components.map(lambda tensor, draw=draw: tensor + torch.randn(2, generator=draw))
        updates = {"x": Update(made, {A: 2, B: 1}), "y": Update(made.slice([A]).map(torch.neg), {A: 1})}
        mine, theirs = (method.aggregate(server, updates) for method in (fedavgm(momentum=0.0), make({}, "fedavg_ft")))
        for key, name, tensor in theirs.components.tensors():
            torch.testing.assert_close(mine.components[key][name], tensor)
        server = mine


def test_its_parameters_are_checked() -> None:
    with pytest.raises(UserError, match=r"'fedavgm': 'momentum'"):
        fedavgm(momentum=1.0)
    with pytest.raises(UserError, match="did you mean 'momentum'"):
        fedavgm(momentun=0.5)


# --- methods of one's own ------------------------------------------------------------------------------------------------


def test_every_command_knows_the_files_of_the_variable(fedtap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fedavgm" not in algorithms()
    monkeypatch.setenv("FEDTAP_METHODS", str(EXAMPLE))
    assert list(algorithms())[-1] == "fedavgm"
    listed = fedtap("methods")
    assert listed.out.splitlines()[-1].startswith("fedavgm ")
    assert "momentum = 0.5" in fedtap("methods", "fedavgm").out
    assert make({"name": "fedavgm"}).name == "fedavgm"  # a scenario may name it then


def test_a_class_at_hand_is_registered_and_may_be_written_anew() -> None:
    first = type(fedavgm())
    outside._held.clear()
    assert package.register(first) is first
    assert algorithms()["fedavgm"] is first
    second = type("FedAvgM", (first,), {"summary": "another"})
    package.register(second)
    assert algorithms()["fedavgm"] is second


def test_a_name_that_is_taken_is_refused_at_once() -> None:
    taken = type("Mine", (type(fedavgm()),), {"name": "tap"})
    with pytest.raises(UserError, match="fedtap has a method called 'tap'; give yours another `name`"):
        package.register(taken)
    assert algorithms()["tap"] is not taken
    for wrong in (3, Algorithm, type("Abstract", (Algorithm,), {"name": "abstract"})):
        with pytest.raises(UserError, match=r"is no method|lacks local_round, models"):
            package.register(wrong)


def test_a_file_is_run_once_however_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    assert outside.load_file("fedavgm.py") is outside.load_file(f"{EXAMPLE}:FedAvgM")


def test_installed_packages_give_methods_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fedtap.methods]\nfedavgm = their_package:FedAvgM\n")
    (tmp_path / "their_package.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    outside._installed.cache_clear()
    try:
        assert algorithms()["fedavgm"].__module__ == "their_package"
        (tmp_path / "their_package.py").unlink()
        sys.modules.pop("their_package")
        outside._installed.cache_clear()
        with pytest.raises(
            UserError, match=r"entry point 'fedavgm' of their-package: cannot be loaded .*; mend or uninstall"
        ):
            algorithms()
    finally:
        outside._installed.cache_clear()


START = "from fedtap.algorithms.fedavg import FedAvg\nfrom fedtap.algorithms.base import Algorithm\n"
WRONG = {
    "": "defines no method",
    "x = 1 / 0": r"cannot be run \(ZeroDivisionError: division by zero\)",
    "def broken(:": r"cannot be run \(SyntaxError",
    "import nothing_of_this_name": r"cannot be run \(ModuleNotFoundError",
    f"{START}class Half(Algorithm):\n    name = 'half'": "defines no method",
    f"{START}class One(FedAvg):\n    name = 'one'\nclass Two(FedAvg):\n    name = 'two'": "defines 2 methods; name one",
    f"{START}class Mine(FedAvg):\n    name = 'not/a name'": "the name 'not/a name' must be",
    f"{START}class Mine(FedAvg):\n    name = 'mine'\n    summary = ''": "has no `summary`",
    f"{START}class Mine(FedAvg):\n    pass": "fedtap has a method called 'fedavg'",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_a_line(
    text: str, scenario: Path, tmp_path: Path, fedtap: Command
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    done = fedtap("run", scenario, "--method", path, "--out", tmp_path / "run")
    assert done.code == 2
    assert re.search(WRONG[text], done.err)
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there_and_a_class_that_is_not_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py: no such file"):
        make({}, str(tmp_path / "none.py"))
    with pytest.raises(UserError, match="defines no method 'FedAvgN'; did you mean 'FedAvgM'"):
        make({}, f"{EXAMPLE}:FedAvgN")


def test_a_scenario_runs_no_file(scenario: Path, fedtap: Command, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    for command in ("run", "scenario plan"):
        done = fedtap(*command.split(), scenario, "--set", f"method.name={trap}")
        assert done.code == 2
        assert "a scenario runs no file" in done.err
    assert not (tmp_path / "sprung").exists()


def test_parameters_that_lack_those_of_the_method_built_upon_are_refused() -> None:
    with pytest.raises(
        TypeError, match="Mine: its Params must extend FedAvgFineTuningParams, those of FedAvgFineTuning"
    ):

        class Mine(FedAvgFineTuning):
            Params = BaseParams
