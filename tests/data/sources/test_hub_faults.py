"""What can be wrong with a data set of the hub, or with the way to it: one line that names place, fault and mend."""

import logging
import re
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from fedtap.runtime.errors import RunError, UserError
from hub_folders import data_set, picture, png, read, write

NEWS = {"label": 1, "title": "a", "description": "b"}
SHOT = {"image": png(picture(1)), "label": 0}
ASKED = {"question": "q", "subject": "professional_law", "choices": ["a", "b", "c", "d"], "answer": 0}
SENTENCE = {"concept_set_idx": 0, "concepts": ["a", "b"], "target": "a b"}
SEEN = {"multiple_choice_answer": "yes", "question": "q", "image": png(picture(2))}
WHOLE: dict[str, dict[str, list[dict[str, Any]]]] = {
    "ag_news": {"test": [NEWS], "train": [NEWS]},
    "tiny_imagenet": {"valid": [SHOT], "train": [SHOT]},
    "mmlu_professional_law": {"validation": [ASKED], "test": [ASKED]},
    "common_gen": {"validation": [SENTENCE], "train": [SENTENCE]},
    "vqa_v2": {"validation": [SEEN]},
}


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("ag_news", {"label": 0}, "row 1: 'label' is 0, not 1 to 4; mend it, or remove the row"),
        ("ag_news", {"label": 5}, "row 1: 'label' is 5, not 1 to 4; mend it"),
        ("ag_news", {"label": None}, "row 1: 'label' is missing, not 1 to 4; mend it"),
        ("ag_news", {"title": " \n", "description": None}, "row 1: 'title' and 'description' are empty; fill one, or"),
        ("tiny_imagenet", {"label": -1}, "row 1: 'label' is -1, not 0 to 199; mend it"),
        ("tiny_imagenet", {"image": None}, "row 1: 'image' has no picture; add it, or remove the row"),
        ("mmlu_professional_law", {"question": ""}, "row 1: 'question' is empty; fill it, or remove the row"),
        ("mmlu_professional_law", {"answer": None}, "row 1: 'answer' is missing, not 0 to 3; mend it"),
        ("mmlu_professional_law", {"choices": ["a", "b", "c"]}, "row 1: 'choices' has 3 entries, not 4 or more; mend"),
        ("mmlu_professional_law", {"choices": None}, "row 1: 'choices' has 0 entries, not 4 or more; mend"),
        ("mmlu_professional_law", {"choices": ["", "b", "c", "d"]}, "row 1: the right one of 'choices' is empty; fill"),
        ("common_gen", {"target": None}, "row 1: 'target' is empty; fill it, or remove the row"),
        ("common_gen", {"concepts": []}, "row 1: 'concepts' has 0 entries, not 1 or more; mend"),
        ("common_gen", {"concepts": ["a", " "]}, "row 1: one of 'concepts' is empty; fill it, or remove the row"),
        ("vqa_v2", {"multiple_choice_answer": "  "}, "row 1: 'multiple_choice_answer' is empty; fill it"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, name: str, changes: dict[str, Any], fault: str) -> None:
    split, (sound,) = next(iter(WHOLE[name].items()))
    splits = {**WHOLE[name], split: [sound, {**sound, **changes}]}
    path = write(tmp_path / "d", name, splits)
    with pytest.raises(UserError, match=re.escape(f"{path}, split '{split}', {fault}")) as error:
        read(name, path)
    assert "\n" not in str(error.value)


def altered(name: str, path: Path, change: Any) -> Path:
    """Write the sound data set with one split changed."""
    whole = data_set(name, WHOLE[name])
    first = next(iter(whole))
    whole[first] = change(whole[first])
    datasets.DatasetDict(whole).save_to_disk(path)
    return path


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (
            "ag_news",
            lambda split: split.rename_column("description", "descripton"),
            "split 'test': no column 'description' (did you mean 'descripton'?); it needs the columns that it has on",
        ),
        (
            "ag_news",
            lambda split: split.cast_column("label", datasets.Value("string")),
            "split 'test': column 'label' holds string; it needs whole numbers, as on the hub",
        ),
        (
            "tiny_imagenet",
            lambda split: split.remove_columns("image").add_column("image", ["a.png"]),
            "split 'valid': column 'image' holds string; it needs pictures (the feature Image), as on the hub",
        ),
        (
            "common_gen",
            lambda split: split.remove_columns("concepts").add_column("concepts", ["a b"]),
            "split 'validation': column 'concepts' holds string; it needs lists of texts, as on the hub",
        ),
    ],
)
def test_another_schema_is_named(tmp_path: Path, name: str, change: Any, fault: str) -> None:
    path = altered(name, tmp_path / "d", change)
    with pytest.raises(UserError, match=re.escape(f"{path}, {fault}")):
        read(name, path)


def test_a_split_that_is_missing_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "d", "ag_news", {"train": [NEWS]})
    fault = f"{path}: no split 'test' (known: train; task 't', source 'ag_news'); give the whole data set"
    with pytest.raises(UserError, match=re.escape(fault)):
        read("ag_news", path)


def test_a_folder_that_is_missing_or_holds_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"gone: no such folder \(task 't', source 'ag_news'\); create it, or mend 'path'"
    ):
        read("ag_news", tmp_path / "gone")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.csv").write_text("label,title\n")
    with pytest.raises(UserError, match=r"other: not a data set as DatasetDict.save_to_disk writes it \(") as error:
        read("ag_news", tmp_path / "other")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["dataset_dict.json", "test/state.json", "test/dataset_info.json", "arrow"])
def test_a_damaged_folder_is_named(tmp_path: Path, file: str) -> None:
    path = write(tmp_path / "d", "ag_news", WHOLE["ag_news"])
    damaged = next((path / "test").glob("*.arrow")) if file == "arrow" else path / file
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(UserError, match=r"d: not a data set as DatasetDict.save_to_disk writes it \(") as error:
        read("ag_news", path)
    assert "\n" not in str(error.value)


def test_without_a_path_the_hub_is_asked_and_its_code_never_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load(*names: Any, **options: Any) -> Any:
        asked.append((names, options))
        return data_set("mmlu", WHOLE["mmlu_professional_law"])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [example.target for example in read("mmlu_professional_law", None)] == ["a"]
    assert asked == [(("cais/mmlu", "professional_law"), {})]


@pytest.mark.parametrize(
    ("name", "rows", "fault"),
    [
        ("ag_news", [{**NEWS, "label": 7}], "sh0416/ag_news, split 'test', row 0: 'label' is 7, not 1 to 4"),
        ("ag_news", [], "sh0416/ag_news, split 'test': no rows in it; give one that has some"),
        (
            "tiny_imagenet",
            [SHOT, {"image": {"bytes": None, "path": "gone.png"}, "label": 0}],
            "zh-plus/tiny-imagenet, split 'valid', row 1: 'image' has no picture; add it",
        ),
    ],
)
def test_a_fault_in_what_the_hub_gave_names_the_data_set(
    monkeypatch: pytest.MonkeyPatch, name: str, rows: list[dict[str, Any]], fault: str
) -> None:
    wrong = data_set(name, {**WHOLE[name], next(iter(WHOLE[name])): rows})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: wrong)
    with pytest.raises(UserError, match=f"^{re.escape(fault)}"):
        read(name, None)


def test_a_saved_split_without_rows_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "d", "ag_news", {"test": [], "train": [NEWS]})
    with pytest.raises(UserError, match=r"d: not a data set as DatasetDict.save_to_disk writes it \("):
        read("ag_news", path)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach 'sh0416/ag_news' on the Hub (LocalEntryNotFoundError)"),
        datasets.exceptions.DatasetNotFoundError("Dataset 'sh0416/ag_news' is a gated dataset on the Hub.\nLog in."),
        ValueError("BuilderConfig 'x' not found. Available: ['default']"),
        RuntimeError("Dataset scripts are no longer supported, but found ag_news.py"),
        datasets.exceptions.DatasetGenerationError("An error occurred"),
    ],
)
def test_where_the_hub_is_out_of_reach_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    level = logging.getLogger("huggingface_hub").level
    seen: list[int] = []

    def load(*_: Any) -> Any:
        seen.append(logging.getLogger("huggingface_hub").level)
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(UserError) as told:
        read("ag_news", None)
    text = str(told.value)
    assert text.startswith(
        "task 't', source 'ag_news': sh0416/ag_news cannot be had from the hub: no connection, or a name"
    )
    assert " ".join(str(error).split()) in text
    assert text.endswith(
        "save it where it can be had with DatasetDict.save_to_disk, and give that folder as the task's 'path'"
    )
    assert "\n" not in text
    # its many lines about retries are kept back, and only while it is asked
    assert seen == [logging.ERROR]
    assert logging.getLogger("huggingface_hub").level == level


def test_a_full_disk_is_not_the_users_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def load(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(RunError, match="no space left to write"):
        read("ag_news", None)


@pytest.mark.parametrize("path", [None, "somewhere"])
def test_the_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"package datasets is not installed; run: .*pip install .*\[hub\]"):
        read("ag_news", path)
