"""What a user's files are taken for: columns, task types, classes, splits and groups, and which sites share a task."""

import json
from pathlib import Path

import pytest

from fedtap.data.guess.columns import look_at_columns
from fedtap.data.guess.federation import GuessedFederation, guess_federation
from fedtap.data.guess.roles import GuessedTask, guess_task
from fedtap.data.guess.seen import look
from fedtap.data.guess.written import write_scenario
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import load_scenario

Rows = list[dict[str, object]]


def lines(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"never opened")


def guessed(path: Path) -> GuessedTask:
    (seen,) = look(path)
    return guess_task(seen)


def federation(*places: object) -> GuessedFederation:
    return guess_federation([str(place) for place in places])


def texts(number: int = 10, **more: object) -> Rows:
    return [{"text": f"a sentence of number {i}", **more} for i in range(number)]


def labelled(*classes: str, number: int = 10, column: str = "label") -> Rows:
    return [row | {column: classes[i % len(classes)]} for i, row in enumerate(texts(number))]


def test_columns_are_counted(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    rows = [{"a": "x y", "p": "1.png"}, {"a": " ", "p": "2.png"}, {"a": 3, "p": None}, {"a": "x y", "p": "1.png"}]
    (a, p), number, broken = look_at_columns([*enumerate(rows), (9, UserError("a row that cannot be read"))], tmp_path)
    assert (number, broken) == (5, 1)
    assert (a.filled, a.different, a.values, a.texts, a.numbers) == (3, 2, {"x y": 2, "3": 1}, False, 1)
    assert (p.filled, p.pictures, p.found, p.is_picture) == (3, 3, 2, True)


@pytest.mark.parametrize(
    ("rows", "type", "modality", "columns", "classes"),
    [
        (labelled("b", "a"), "classification", "text", {}, ("a", "b")),
        (labelled("10", "9", column="stars"), "classification", "text", {"label": "stars"}, ("9", "10")),
        ([{"text": f"t {i}", "label": i % 2 == 0} for i in range(9)], "classification", "text", {}, ("false", "true")),
        ([{"title": "t", "body": f"long text {i}", "kind": "xy"[i % 2]} for i in range(9)],
         "classification", "text", {"text": "body", "label": "kind"}, ("x", "y")),
        ([{"question": f"what of {i}?", "answer": f"it is {i}"} for i in range(9)],
         "text_generation", "text", {"text": "question", "target": "answer"}, ()),
        ([{"question": f"what of {i}?", "answer": ("yes", "no")[i % 2]} for i in range(9)],
         "classification", "text", {"text": "question", "label": "answer"}, ("no", "yes")),
        ([{"image": f"{i}.png", "finding": "ab"[i % 2]} for i in range(9)],
         "classification", "image", {"label": "finding"}, ("a", "b")),
        ([{"file": f"{i}.png", "text": f"is it {i}?", "label": "ab"[i % 2]} for i in range(9)],
         "classification", "image+text", {"image": "file"}, ("a", "b")),
        ([{"image": f"{i}.png", "caption": f"a picture of {i}"} for i in range(9)],
         "text_generation", "image", {"target": "caption"}, ()),
        ([{"id": i, "scan": f"{i}.png"} for i in range(9)], "reconstruction", "image", {"image": "scan"}, ()),
    ],
)  # fmt: skip
def test_a_table_says_what_is_asked_of_it(
    rows: Rows, type: str, modality: str, columns: dict[str, str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    task = guessed(lines(tmp_path / "t.jsonl", rows))
    assert (task.type, task.modality, dict(task.columns), task.classes) == (type, modality, columns, classes)


def test_numbers_of_rows_and_measurements_are_no_answer(tmp_path: Path) -> None:
    rows = [row | {"id": i, "weight": i / 7} for i, row in enumerate(texts())]
    with pytest.raises(UserError, match=r"t\.jsonl: .* cannot be guessed.*'weight' \(10 different numbers\)"):
        guessed(lines(tmp_path / "t.jsonl", rows))


def test_splits_and_groups_are_found_by_name_and_content(tmp_path: Path) -> None:
    rows = labelled("a", "b", number=12)
    rows = [row | {"fold": ("train", "val", "test")[i % 3], "Patient ID": f"p{i // 2}"} for i, row in enumerate(rows)]
    task = guessed(lines(tmp_path / "t.jsonl", rows))
    assert (task.columns, task.keys) == ({"split": "fold"}, {"group": "Patient ID"})
    assert "group" in task.doubts


def test_what_may_be_meant_otherwise_is_said_at_its_key(tmp_path: Path) -> None:
    few = guessed(lines(tmp_path / "t.jsonl", [row | {"target": "ab"[i % 2]} for i, row in enumerate(texts())]))
    assert few.type == "classification"
    assert "text_generation" in few.doubts["type"]
    slip = guessed(lines(tmp_path / "t.jsonl", [*labelled("a", "b"), {"text": "a slip", "label": "bb"}]))
    assert slip.doubts["classes"].startswith("1 of them are in one row only (bb)")
    rows = [{"text": f"words of note {i}", "label": "sick" if i < 2 else "well"} for i in range(22)]
    unequal = "'well' in 20 rows and 'sick' in 2: with class_weights: balanced both have the same say"
    assert unequal in guessed(lines(tmp_path / "u.jsonl", rows)).reasons
    assert "class_weights" not in str(guessed(lines(tmp_path / "v.jsonl", rows[:-1])).reasons)
    gone = guessed(lines(tmp_path / "t.jsonl", [{"image": f"{i}.png", "label": "ab"[i % 2]} for i in range(4)]))
    assert gone.doubts["path"].startswith("4 of 4 pictures are not where")
    sure = guessed(lines(tmp_path / "t.jsonl", labelled("a", "b")))
    assert not sure.doubts


def test_a_csv_tells_its_delimiter_and_encoding(tmp_path: Path) -> None:
    rows = "\n".join(f"caf\xe9 {i}, and so on;{'ab'[i % 2]}" for i in range(8))
    (tmp_path / "t.csv").write_text(f"text;label\n{rows}", encoding="cp1252")
    task = guessed(tmp_path / "t.csv")
    assert task.keys == {"delimiter": ";", "encoding": "cp1252"}
    assert (task.rows, task.classes) == (8, ("a", "b"))
    assert "encoding" in task.doubts
    assert "delimiter" not in task.doubts


def test_folders_of_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "cells", "sick/1.png", "healthy/2.jpg", "healthy/deep/3.png", ".git/4.png", "empty/notes.txt")
    task = guessed(tmp_path / "cells")
    assert (task.type, task.source, task.classes, task.rows) == ("classification", "folder", ("healthy", "sick"), 3)
    pictures(tmp_path / "scans", "1.png", "2.png")
    assert guessed(tmp_path / "scans").type == "reconstruction"
    pictures(tmp_path / "own", "train/a/1.png", "train/b/1.png", "val/a/2.png", "test/a/3.png", "test/b/3.png")
    task = guessed(tmp_path / "own")
    assert (task.classes, sorted(task.parts or ())) == (("a", "b"), ["test", "train", "validation"])


def test_a_sites_folder_has_a_task_for_each_table_and_folder_of_pictures(tmp_path: Path) -> None:
    lines(tmp_path / "ward/notes.jsonl", labelled("a", "b"))
    lines(tmp_path / "ward/questions.jsonl", [{"image": f"scans/{i}.png", "label": "cd"[i % 2]} for i in range(6)])
    pictures(tmp_path / "ward", *(f"scans/{i}.png" for i in range(6)), "cells/x/1.png", "cells/y/2.png")
    (client,) = federation(tmp_path / "ward").clients
    assert client.id == "ward"
    assert {name: task.source for name, task in client.tasks.items()} == {
        "notes": "jsonl",
        "questions": "jsonl",
        "cells": "folder",
    }


def test_three_tables_called_as_splits_are_one_task(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        lines(tmp_path / f"desk/{name}.jsonl", labelled("a", "b", number=4))
    (client,) = federation(tmp_path / "desk").clients
    ((name, task),) = client.tasks.items()
    assert (name, task.rows, sorted(task.parts or ())) == ("desk", 12, ["test", "train", "validation"])


def test_sites_with_the_same_classes_share_the_task(tmp_path: Path) -> None:
    a = lines(tmp_path / "a.jsonl", labelled("x", "y"))
    b = lines(tmp_path / "b.jsonl", labelled("y", "x"))
    c = lines(tmp_path / "c.jsonl", labelled("x", "z"))
    made = federation(a, b, c)
    assert [list(client.tasks) for client in made.clients] == [["a"], ["a"], ["c"]]
    assert made.shared == {"a": ["a", "b"]}
    assert any("a and c have classes in common (x)" in note for note in made.notes)


def test_a_site_without_an_example_of_a_class_shares_the_task_with_all_classes(tmp_path: Path) -> None:
    a = lines(tmp_path / "a.jsonl", labelled("x", "y", number=8))
    b = lines(tmp_path / "b.jsonl", labelled("x", "y", "z", number=9))
    made = federation(a, b)
    assert [task.classes for client in made.clients for task in client.tasks.values()] == [("x", "y", "z")] * 2
    assert made.notes == ["a has no example of z, and shares the task of b all the same"]


def test_classes_that_differ_in_capitals_are_two_tasks_and_said(tmp_path: Path) -> None:
    made = federation(lines(tmp_path / "a.jsonl", labelled("x", "y")), lines(tmp_path / "b.jsonl", labelled("X", "Y")))
    assert made.shared == {}
    assert any("capitals" in note for note in made.notes)


def test_sites_are_called_by_their_places_or_as_the_user_says(tmp_path: Path) -> None:
    a = lines(tmp_path / "north (1)/notes.jsonl", labelled("x", "y"))
    b = lines(tmp_path / "south/notes.jsonl", labelled("x", "y"))
    assert [client.id for client in federation(a, b).clients] == ["north-1", "south"]
    assert [client.id for client in federation(f"one={a}", b).clients] == ["one", "notes"]
    with pytest.raises(UserError, match="another site is called 'one' too"):
        federation(f"one={a}", f"one={b}")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("gone.csv", None, "no such file or folder"),
        ("a.pdf", "text", "not a kind of file that is read"),
        ("a.csv", "", "no row in it"),
        ("a.csv", "text,label\n", "no row in it"),
        ("a.xlsx", "no archive", "no .xlsx spreadsheet"),
        ("a.jsonl", "[1]\n", "no row in it"),
        ("empty/notes.txt", "text", "no table in it"),
        ("sites/clinic/notes.csv", "text,label\n", "its folders have tables: name those"),
    ],
)
def test_what_cannot_be_read_is_one_line(name: str, content: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    place = path if len(Path(name).parts) == 1 else tmp_path / Path(name).parts[0]
    with pytest.raises(UserError, match=why):
        federation(place)


def test_lists_of_texts_are_answers_of_which_any_is_right(tmp_path: Path) -> None:
    rows = [row | {"replies": [f"yes {i}", f"it is {i} indeed"]} for i, row in enumerate(texts())]
    task = guessed(lines(tmp_path / "a.jsonl", rows))
    assert (task.type, task.columns, task.answer_words) == ("text_generation", {"target": "replies"}, 4)
    assert "'replies' holds lists of answers: to be written, any of them is right" in task.reasons


@pytest.mark.parametrize("separator", ["list", ";", "|"])
def test_a_few_labels_of_which_a_row_names_several(tmp_path: Path, separator: str) -> None:
    named = [["old", "red"], ["red"], ["old"], [], ["red", "old"]] * 2
    if separator == "list":
        path = lines(tmp_path / "a.jsonl", [row | {"tags": each} for row, each in zip(texts(), named, strict=True)])
    else:
        path = tmp_path / "a.csv"
        rows = [f"a sentence of number {i},{separator.join(each)}" for i, each in enumerate(named)]
        path.write_text("\n".join(["text,tags", *rows]))
    task = guessed(path)
    assert (task.type, task.columns, task.classes) == ("multilabel_classification", {"label": "tags"}, ("old", "red"))
    assert task.keys == ({} if separator == "list" else {"separator": separator})
    assert "'tags' names several of 2 labels in a row" in task.reasons


def test_a_named_number_in_each_row_is_to_be_predicted_on_one_scale_for_all(tmp_path: Path) -> None:
    for name, first in (("a", 18.3), ("b", 40.0)):
        lines(tmp_path / f"{name}.jsonl", [row | {"age": first + 5 * i} for i, row in enumerate(texts())])
    task = guessed(tmp_path / "a.jsonl")
    assert (task.type, task.columns, task.scale) == ("regression", {"target": "age"}, (18.0, 64.0))
    both = federation(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert [client.tasks["age"].scale for client in both.clients] == [(18.0, 86.0)] * 2


def test_what_is_guessed_of_labels_and_numbers_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    named = ["old;red", "red", "old", "", "red;old"] * 2
    rows = [f"a sentence of number {i},{tags}" for i, tags in enumerate(named)]
    (tmp_path / "a" / "t.csv").write_text("\n".join(["text,tags", *rows]))
    lines(tmp_path / "a" / "n.jsonl", [row | {"age": 18.3 + 5 * i} for i, row in enumerate(texts())])
    (tmp_path / "made").mkdir()
    path = tmp_path / "made" / "scenario.yaml"
    path.write_text(write_scenario(federation(tmp_path / "a"), tmp_path / "made").text)
    tasks = {task.type: task for task in load_scenario(path).clients[0].tasks}
    assert tasks["multilabel_classification"].separator == ";"
    assert tasks["multilabel_classification"].classes == ("old", "red")
    assert tasks["regression"].scale == (18.0, 64.0)
