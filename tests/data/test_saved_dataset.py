"""A data set that the library ``datasets`` has saved, as a site's own data: labels, splits, groups, and what can be wrong."""

from pathlib import Path
from typing import Any

import pytest

from fedtap.data.example import Example
from fedtap.data.sources import source
from fedtap.data.sources.intake import Intake
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

datasets = pytest.importorskip("datasets")


def task(**more: Any) -> TaskSettings:
    known = {
        "name": "t",
        "type": "classification",
        "modality": "text",
        "domain": "d",
        "source": "dataset",
        "path": "set",
    }
    return TaskSettings.model_validate(known | {"classes": ["a", "b"]} | more)


def save(folder: Path, **splits: dict[str, list[Any]]) -> None:
    held = {name: datasets.Dataset.from_dict(columns) for name, columns in splits.items()}
    datasets.DatasetDict(held).save_to_disk(str(folder / "set"))


def read(folder: Path, **more: Any) -> list[Example]:
    asked = task(**more)
    source("dataset").check(asked)
    return list(source("dataset").examples(asked, folder))


def texts(number: int, word: str = "text") -> list[str]:
    return [f"{word} {i}" for i in range(number)]


def test_splits_are_kept_and_labels_found_by_name(tmp_path: Path) -> None:
    save(
        tmp_path,
        train={"note": texts(3), "label": ["a", " b", "a"]},
        validation={"note": texts(1, "other"), "label": ["b"]},
        test={"note": texts(2, "last"), "label": ["b", "b"]},
    )
    found = read(tmp_path, columns={"text": "note"})
    assert [(each.text, each.target, each.split) for each in found] == [
        ("text 0", 0, "own_train"),
        ("text 1", 1, "own_train"),
        ("text 2", 0, "own_train"),
        ("other 0", 1, "own_validation"),
        ("last 0", 1, "test"),
        ("last 1", 1, "test"),
    ]


def test_numbers_may_be_labels_and_groups_stay_together(tmp_path: Path) -> None:
    save(tmp_path, train={"text": texts(4), "label": [0, 1, 1, 0], "patient": [7, 7, 8, 8]})
    found = read(tmp_path, classes=2, group="patient")
    assert [(each.target, each.group, each.split) for each in found] == [
        (0, "7", None),
        (1, "7", None),
        (1, "8", None),
        (0, "8", None),
    ]


def test_what_is_written_is_read_as_text(tmp_path: Path) -> None:
    save(tmp_path, train={"text": texts(2), "target": ["yes", "no"]})
    assert [each.target for each in read(tmp_path, type="text_generation", classes=None)] == ["yes", "no"]


def test_a_label_that_is_no_class_is_never_skipped(tmp_path: Path) -> None:
    save(tmp_path, train={"text": ["one", "", "three"], "label": ["a", "a", "c"]})
    intake = Intake(skip=True)
    found = source("dataset").read(task(), tmp_path, intake)
    assert len(found) == intake.number_skipped == 1
    (fault,) = intake.faults
    assert "row 2" in fault
    assert "unknown label 'c'" in fault


@pytest.mark.parametrize(
    ("columns", "more", "why"),
    [
        ({"text": ["x"], "kind": ["a"]}, {}, "no column 'label'"),
        ({"text": [1], "label": ["a"]}, {}, "column 'text' holds int64; it needs text"),
        ({"text": ["x"], "label": [0.5]}, {}, "column 'label' holds double; it needs names or whole numbers"),
        ({"text": ["x"], "label": ["a"]}, {"columns": {"txt": "text"}}, "unknown key 'txt' in 'columns'"),
        ({"text": ["x"], "label": ["a"]}, {"group": 1}, "give the name of a column"),
        ({"text": ["x"], "label": ["a"]}, {"path": "gone"}, "no such folder"),
    ],
)
def test_what_does_not_fit_is_one_line(
    columns: dict[str, list[Any]], more: dict[str, Any], why: str, tmp_path: Path
) -> None:
    save(tmp_path, train=columns)
    with pytest.raises(UserError, match=why):
        read(tmp_path, **more)


def test_lists_of_answers_and_further_columns_are_right_answers(tmp_path: Path) -> None:
    save(tmp_path, all={"text": ["q", "r"], "target": [["a", "b"], ["c"]], "more": ["d", ""]})
    asked = {"type": "text_generation", "classes": None}
    assert [(e.target, e.also) for e in read(tmp_path, **asked)] == [("a", ("b",)), ("c", ())]
    assert [(e.target, e.also) for e in read(tmp_path, references=["more"], **asked)] == [("a", ("b", "d")), ("c", ())]


def test_lists_of_labels_by_name_and_by_number(tmp_path: Path) -> None:
    asked = {"type": "multilabel_classification"}
    save(tmp_path, all={"text": texts(3), "label": [["b", "a"], [], ["b"]]})
    assert [e.target for e in read(tmp_path, **asked)] == [(0, 1), (), (1,)]
    kind = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.Sequence(datasets.ClassLabel(names=["a", "b"]))}
    )
    made = datasets.Dataset.from_dict({"text": texts(3), "label": [[1, 0], [], [1]]}, features=kind)
    datasets.DatasetDict({"all": made}).save_to_disk(str(tmp_path / "other" / "set"))
    assert [e.target for e in read(tmp_path / "other", **asked)] == [(0, 1), (), (1,)]


def test_numbers_are_numbers(tmp_path: Path) -> None:
    asked = {"type": "regression", "classes": None, "scale": [0, 10]}
    save(tmp_path, all={"text": texts(2), "target": [1.5, 3.0]})
    assert [e.target for e in read(tmp_path, **asked)] == [1.5, 3.0]
    save(tmp_path / "b", all={"text": texts(2), "target": [1.5, None]})
    with pytest.raises(UserError, match="'target' is null; it must be a number"):
        read(tmp_path / "b", **asked)
