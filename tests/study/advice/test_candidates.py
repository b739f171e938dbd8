"""Which methods advice is asked about: the usual ones that suit a scenario, and those that are named."""

from pathlib import Path
from typing import Any

import pytest

from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, load_scenario
from fedtap.study.advice.candidates import DEFAULT, candidates
from tiny_federation import write_scenario


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


def scenario(folder: Path, *overrides: str) -> Scenario:
    return load_scenario(write_scenario(folder), list(overrides))


def labels(found: Any) -> list[str]:
    return [entry.label for entry in found]


def test_by_default_the_usual_ones_and_the_scenarios_own(folder: Path) -> None:
    assert labels(candidates(scenario(folder), None)) == list(DEFAULT)
    assert labels(candidates(scenario(folder, "method.name=ditto"), None)) == [*DEFAULT, "ditto"]
    own = candidates(scenario(folder, "method.gate=paired"), None)
    (tap,) = [entry for entry in own if entry.label == "tap"]
    assert tap.scenario.method["gate"] == "paired"  # what the scenario says of a method holds for it here too


def test_what_is_the_same_twice_is_asked_about_once(folder: Path) -> None:
    assert labels(candidates(scenario(folder, "method.name=fedper"), None)) == list(DEFAULT)


def test_of_the_usual_ones_those_that_do_not_suit_are_left_out_and_told(folder: Path) -> None:
    notes: list[str] = []
    observers = [lambda event: notes.append(event["text"])]
    found = candidates(scenario(folder, "method.name=fedavg", "method.lora_mean=product"), None, observers)
    assert labels(found) == list(DEFAULT)
    assert notes == []
    found = candidates(scenario(folder, "method.distil=on"), None, observers)
    assert "tap_best" not in labels(found)  # it has no student to distil into
    assert len(notes) == 1
    assert notes[0].startswith("'tap_best' is left out: ")
    notes.clear()
    everyone = labels(candidates(scenario(folder), "all", observers))
    assert "probe" not in everyone
    assert {"local", "tap", "ditto"} <= set(everyone)
    assert any(note.startswith("'probe' is left out: ") for note in notes)


def test_what_is_named_must_suit_and_the_base_is_added(folder: Path) -> None:
    assert labels(candidates(scenario(folder), "tap,fedavg")) == ["local", "tap", "fedavg"]
    assert labels(candidates(scenario(folder), ["tap", "local"])) == ["tap", "local"]
    with pytest.raises(UserError, match="'probe' cannot serve client 'asker', task 'ask'"):
        candidates(scenario(folder), "tap,probe")
    with pytest.raises(UserError, match="nothing to choose between"):
        candidates(scenario(folder), "local")
