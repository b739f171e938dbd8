"""Labels of methods, lists of values, and federations of another size."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtap.algorithms import outside
from fedtap.algorithms.fedavg import FedAvg
from fedtap.algorithms.registry import algorithms, register
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, load_scenario
from fedtap.study import worker
from fedtap.study.batch import Job
from fedtap.study.grid import axes_of, points, scenario_at
from fedtap.study.variants import file_name, split_list, unable, variant, variants
from tiny_federation import write_scenario


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    path: Path = write_scenario(tmp_path_factory.mktemp("tiny"), method={"name": "tap", "margin": 0.5})
    return load_scenario(path)


def test_a_label_sets_the_method_and_the_scenario(scenario: Scenario) -> None:
    made = variant(scenario, "tap:gate=paired+training.lr=1e-2+scope=exclusive")
    assert made.scenario.method["gate"] == "paired"
    assert made.scenario.method["scope"] == "exclusive"
    assert made.scenario.method["margin"] == 0.5  # the scenario's own setting stays
    assert made.scenario.training.lr == 0.01
    assert made.scenario.clients == scenario.clients


def test_the_scenarios_settings_of_its_method_are_not_another_methods(scenario: Scenario) -> None:
    assert "margin" not in variant(scenario, "fedavg").scenario.method


def test_all_stands_for_every_method_and_counts_none_twice(scenario: Scenario) -> None:
    labels = [each.label for each in variants(scenario, ["tap", "all", "tap:distil=off"])]
    assert labels == ["tap", *(name for name in algorithms() if name != "tap"), "tap:distil=off"]


def test_all_leaves_out_what_cannot_train_the_architecture(scenario: Scenario) -> None:
    plain = scenario.model_copy(update={"network": scenario.network.model_copy(update={"name": "plain"})})
    assert unable(scenario) == []
    assert set(unable(plain)) == {name for name, kind in algorithms().items() if kind.architectures == ("experts",)}
    assert "disentafl" in unable(plain)
    assert [each.label for each in variants(plain, ["all"])] == [n for n in algorithms() if n not in unable(plain)]


def test_what_a_method_serves_is_known_without_running_it(scenario: Scenario) -> None:
    assert variant(scenario, "probe").served() == {
        ("reader", "mood"),
        ("painter", "shade"),
        ("both", "mood"),
        ("both", "shade"),
        ("newcomer", "mood"),
    }
    assert len(variant(scenario, "tap").served()) == 7


def test_names_of_files_differ_where_labels_do() -> None:
    labels = ["tap", "tap:a=1", "tap:a=[1,2]", "tap:a=[1;2]", "tap:a='1 2'", "margin=0.1"]
    names = [file_name(label) for label in labels]
    assert names[:2] == ["tap", "tap-a=1"]
    assert names[-1] == "margin=0.1"
    assert len(set(names)) == len(names)
    assert all("/" not in name and " " not in name for name in names)


def test_commas_within_brackets_and_quotes_do_not_split() -> None:
    assert split_list("[0.6,0.2,0.2],'a,b',{x: [1,2], y: 3},4") == ["[0.6,0.2,0.2]", "'a,b'", "{x: [1,2], y: 3}", "4"]


def test_the_cross_product_has_every_combination_once() -> None:
    axes, fixed = axes_of(["a.b=1,2", "rounds=3", "gate=x,y,z"])
    assert fixed == ["rounds=3"]
    found = points(axes)
    assert len(found) == 6
    assert found[0] == {"a.b": "1", "gate": "x"}
    assert len({tuple(point.items()) for point in found}) == 6
    assert [axis.of_method for axis in axes_of(["method.margin=1,2", "gate=1,2", "data.train=1,2"])[0]] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("number", [4, 5, 9])
def test_a_number_of_clients_is_a_population(tmp_path: Path, number: int) -> None:
    path = write_scenario(tmp_path)
    axes, fixed = axes_of([f"clients={number}"])
    (point,) = points(axes)
    made = scenario_at(path, fixed, axes, point)
    assert made == load_scenario(path, [f"population={number}"])
    assert len(made.participants) == number


def test_a_label_cannot_change_what_all_share(scenario: Scenario) -> None:
    for setting in ("data.train=5", "clients=[]", "population=9", "tasks_per_client=1", "evaluation.save=all"):
        with pytest.raises(UserError, match="must be the same for all methods"):
            variant(scenario, f"tap:{setting}")


OWN = Path(__file__).parents[2] / "docs" / "examples" / "fedavgm.py"


@pytest.fixture
def nothing_registered() -> Iterator[None]:
    """Leave the methods as they were."""
    before = dict(outside._held)
    yield
    outside._held.clear()
    outside._held.update(before)


@pytest.mark.usefixtures("nothing_registered")
def test_a_file_stands_for_its_method_wherever_it_lies(scenario: Scenario) -> None:
    labels = [str(OWN), f"{OWN}:FedAvgM", f"{OWN}:FedAvgM:momentum=0.9", f"{OWN}:momentum=0.8+local_steps=1"]
    found = variants(scenario, labels)
    assert [each.label for each in found] == ["fedavgm", "fedavgm:momentum=0.9", "fedavgm:momentum=0.8+local_steps=1"]
    assert [each.scenario.method["momentum"] for each in found] == [0.5, 0.9, 0.8]
    assert {each.scenario.method["name"] for each in found} == {"fedavgm"}  # a scenario names no file
    job = Job("fedavgm-seed0", found[0].scenario, 0, Path("out"))
    assert job.method_file == f"{OWN}:FedAvgM"
    assert Job("tap-seed0", variant(scenario, "tap").scenario, 0, Path("out")).method_file == ""


@pytest.mark.usefixtures("nothing_registered")
def test_a_runs_process_knows_the_method_of_the_file_and_of_no_scenario(scenario: Scenario, tmp_path: Path) -> None:
    made = variant(scenario, f"{OWN}:local_steps=1").scenario
    outside._held.clear()  # as in a process of its own
    job = {
        "name": "fedavgm-seed0",
        "scenario": made.model_copy(update={"rounds": 1}).resolved(),
        "folder": str(scenario.folder),
        "seed": 0,
        "out": str(tmp_path / "out"),
        "device": "cpu",
        "method_file": "",
    }
    code, why = worker._work(job, io.StringIO(), threading.Event())
    assert (code, "no method 'fedavgm'" in why) == (2, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        assert worker._work({**job, "method_file": f"{OWN}:FedAvgM"}, io.StringIO(), threading.Event()) == (0, "")
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.usefixtures("nothing_registered")
def test_a_method_that_other_processes_cannot_find_is_refused(scenario: Scenario) -> None:
    class Mine(FedAvg):
        name = "mine_alone"

    register(Mine)
    with pytest.raises(UserError, match=r"known to this Python process alone.*mine\.py"):
        variant(scenario, "mine_alone")
