"""A key's old name is understood, and one line says what it is called now."""

import warnings
from pathlib import Path

import pytest

from fedtap.cli import main
from fedtap.deployment.node import read_node
from fedtap.runtime.errors import UserError
from fedtap.scenario.renamed import RENAMED, RenamedKeyWarning, with_current_keys
from fedtap.scenario.scenario import Scenario, load_scenario

TEXT = """
training: {finish_steps: 7, lr: 0.01, finish_lr: 0.002}
clients: [{id: a, tasks: [{name: t, type: classification, modality: image, domain: d, source: digits}]}]
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.yaml"
    path.write_text(TEXT)
    return path


def test_every_new_name_is_a_key_and_no_old_one_is() -> None:
    for was, now in RENAMED.items():
        (section, old_key), (same, new_key) = was.split("."), now.split(".")
        fields = Scenario.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        assert section == same
        assert new_key in fields
        assert old_key not in fields


def test_the_values_arrive_under_the_new_names(old: Path) -> None:
    with pytest.warns(RenamedKeyWarning) as told:
        scenario = load_scenario(old)
    assert (scenario.training.finetune_steps, scenario.training.finetune_lr) == (7, 0.002)
    assert [str(each.message) for each in told] == [
        f"{old}: 'training.finish_steps' is called 'training.finetune_steps' now; rename it",
        f"{old}: 'training.finish_lr' is called 'training.finetune_lr' now; rename it",
    ]


def test_an_override_by_the_old_name_changes_the_new_one(old: Path) -> None:
    old.write_text(TEXT.replace("finish", "finetune"))
    with pytest.warns(RenamedKeyWarning, match=r"^--set training.finish_steps=3: 'training.finish_steps' is called"):
        assert load_scenario(old, ["training.finish_steps=3"]).training.finetune_steps == 3


def test_both_names_at_once_are_refused(old: Path) -> None:
    old.write_text(TEXT.replace("lr: 0.01", "finetune_steps: 9"))
    with pytest.warns(RenamedKeyWarning), pytest.raises(UserError, match="is the old name of"):
        load_scenario(old)


def test_what_was_given_is_left_as_it_is_and_new_names_say_nothing() -> None:
    raw = {"training": {"finish_steps": 1}, "rounds": 2}
    with pytest.warns(RenamedKeyWarning):
        assert with_current_keys(raw, "here") == {"training": {"finetune_steps": 1}, "rounds": 2}
    assert raw == {"training": {"finish_steps": 1}, "rounds": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for plain in ({"training": {"lr": 1}}, {"training": 3}, {}):
            assert with_current_keys(plain, "here") == plain


def test_the_command_writes_one_line_for_each_old_name(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["scenario", "validate", str(old)])
    assert left.value.code == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == f"fedtap: {old}: 'training.finish_steps' is called 'training.finetune_steps' now; rename it"


def test_a_node_understands_its_old_key_too(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("client: a\nconditions: {epsilon: 3}\n")
    with pytest.warns(RenamedKeyWarning, match="'conditions' is called 'policy' now"):
        assert read_node(tmp_path).policy.epsilon == 3
