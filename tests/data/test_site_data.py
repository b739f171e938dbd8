"""One client's share of the data, made where only that client's data are: the same examples as among all."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedtap.data.partition import Partition, partition
from fedtap.data.requests import most_examples
from fedtap.data.site_data import Place, SiteData
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, load_scenario
from tiny_federation import TASKS, settings, write_data

PUBLIC = {"name": "digit", "type": "classification", "modality": "image", "domain": "digits", "source": "digits"}


def scenario_at(folder: Path) -> Scenario:
    """Return a scenario of three clients: each with data of its own, two with shares of a public source besides."""
    clients: list[dict[str, Any]] = []
    for client, tasks in {"one": ("mood", "shade"), "two": ("shade", "redraw"), "three": ("ask",)}.items():
        write_data(folder / client / "data")
        own = [{"name": task, **TASKS[task], "path": f"{client}/{TASKS[task]['path']}"} for task in tasks]
        clients.append({"id": client, "tasks": [*own, *([PUBLIC] if client != "three" else [])]})
    path = folder / "three.yaml"
    path.write_text(yaml.safe_dump(settings(clients=clients)))
    return load_scenario(path)


def keys(shares: Partition, client: str) -> dict[str, list[list[str]]]:
    return {
        task: [[example.key for example in splits[split]] for split in ("train", "validation", "test")]  # type: ignore[index]
        for task, splits in shares[client].items()
    }


def test_a_clients_share_is_the_same_with_and_without_the_others(tmp_path: Path) -> None:
    scenario = scenario_at(tmp_path / "all")
    whole = partition(scenario, 3)
    for client in scenario.clients:
        home = tmp_path / f"home-{client.id}"
        shutil.copytree(tmp_path / "all" / client.id, home / "moved")
        places = {
            task.name: Place(path=str(Path("moved", *Path(task.path).parts[1:]))) for task in client.tasks if task.path
        }
        alone = partition(scenario, 3, SiteData(client.id, home, places))
        assert set(alone) == {client.id}
        assert keys(alone, client.id) == keys(whole, client.id)


def test_a_rehearsal_takes_its_share_of_data_that_all_lie_in_one_place(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings()))
    scenario = load_scenario(path)
    whole = partition(scenario, 0)
    for client in scenario.clients:
        alone = partition(scenario, 0, SiteData(client.id, tmp_path, {}, whole=True))
        assert keys(alone, client.id) == keys(whole, client.id)


def test_columns_may_be_called_otherwise(tmp_path: Path) -> None:
    scenario = scenario_at(tmp_path)
    table = tmp_path / "one" / "data" / "films.csv"
    table.write_text(table.read_text().replace("sentence,mood", "words,feeling"))
    with pytest.raises(UserError, match="no column 'sentence'"):
        partition(scenario, 0, SiteData("one", tmp_path))
    place = Place(columns={"text": "words", "label": "feeling"})
    assert set(partition(scenario, 0, SiteData("one", tmp_path, {"mood": place}))["one"]) == {"mood", "shade", "digit"}


def test_two_tasks_on_one_source_lie_in_one_place(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    tasks = [{"name": name, **TASKS["mood"]} for name in ("first", "second")]
    path = tmp_path / "twice.yaml"
    path.write_text(yaml.safe_dump(settings(clients=[{"id": "one", "tasks": tasks}], clients_per_round=1)))
    scenario = load_scenario(path)
    site_data = SiteData("one", tmp_path, {"second": Place(path="elsewhere.csv")})
    with pytest.raises(UserError, match="tasks 'first' and 'second' draw from one source"):
        partition(scenario, 0, site_data)


@pytest.mark.parametrize("seed", range(5))
def test_no_client_gets_more_than_is_said_beforehand(seed: int, tmp_path: Path) -> None:
    scenario = scenario_at(tmp_path)
    most = most_examples(scenario, seed)
    for client, tasks in partition(scenario, seed).items():
        assert set(most[client]) == set(tasks)
        for task, splits in tasks.items():
            assert 0 < len(splits.train) <= most[client][task]
