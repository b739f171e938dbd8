"""Settings as mappings: they say what lines would, and read back as what was given."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from fedtap.runtime.errors import UserError
from fedtap.runtime.overrides import axes_lines_of, lines_of
from fedtap.scenario.plain_yaml import parse
from fedtap.scenario.scenario import load_scenario
from fedtap.study.grid import axes_of

PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=3),
    max_leaves=5,
)


@given(PLAIN)
@example(")𐀀")  # beyond sixteen bits
@example(",\x7f\u2028")
@example(["\n", "\x85"])
def test_a_value_reads_back_as_it_was(value: Any) -> None:
    (line,) = lines_of({"data.made": value})
    assert "\n" not in line
    assert parse(line.partition("=")[2]) == value


@pytest.mark.parametrize(
    "given",
    [
        {"training.lr": 1e-4, "rounds": 3, "method.distil": False},
        {"training": {"lr": 1e-4}, "rounds": 3, "method": {"distil": False}},
        ["training.lr=1e-4", "rounds=3", "method.distil=false"],
    ],
)
def test_all_forms_make_the_same_scenario(given: Any) -> None:
    scenario = load_scenario("quickstart", given)
    assert (scenario.rounds, scenario.training.lr, scenario.method["distil"]) == (3, 1e-4, False)
    assert scenario.training.warmup_rounds == load_scenario("quickstart").training.warmup_rounds


def test_one_line_alone_is_one_setting() -> None:
    assert load_scenario("quickstart", "rounds=4").rounds == 4


def test_a_list_of_a_sweep_holds_the_values_of_one_key() -> None:
    lines = axes_lines_of({"method": {"margin": [0.01, 1e-5], "gate": ["paired", "a, b"]}, "rounds": 2})
    axes, fixed = axes_of(lines)
    assert [(axis.key, [parse(value) for value in axis.values]) for axis in axes] == [
        ("method.margin", [0.01, 1e-5]),
        ("method.gate", ["paired", "a, b"]),
    ]
    assert fixed == ["rounds=2"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({3: 1}, "3: a setting's name is a text"),
        ({"rounds=3": 1}, "without '='"),
        ({"": 1}, "a setting's name is a text"),
        ({"data": {"train": object()}}, "'data.train': a value of type object cannot be a setting"),
    ],
)
def test_what_cannot_be_a_setting_is_said(given: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        lines_of(given)


def test_an_empty_list_has_no_values_to_sweep() -> None:
    with pytest.raises(UserError, match="'rounds': the list is empty"):
        axes_lines_of({"rounds": []})


def test_a_path_is_its_text() -> None:
    assert lines_of({"backbone.path": Path("models") / "flava"}) == ["backbone.path=models/flava"]
