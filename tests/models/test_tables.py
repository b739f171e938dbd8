"""`fedtap predict --input --output`: many examples through one model, as a stream, and what cannot be read."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.backbones.weights import loads
from fedtap.cli import main
from fedtap.data.images import read_image
from fedtap.models.personal_model import PersonalModel
from models.test_personal_model import WORDS, run

__all__ = ["run"]
Said = tuple[int, str, str]


@pytest.fixture
def predict(run: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["predict", str(run), *map(str, arguments)])
        return int(left.value.code or 0), *capsys.readouterr()

    return call


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return (
        list(csv.DictReader(text.splitlines()))
        if path.suffix == ".csv"
        else [json.loads(line) for line in text.splitlines()]
    )


def table(path: Path, *rows: tuple[str, ...], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


NOTES = [(word, str(i)) for i, word in enumerate(WORDS)]


@pytest.mark.parametrize(("name", "delimiter"), [("note", ","), ("text", ";")])
def test_a_csv_gets_answers_beside_its_columns(
    run: Path, tmp_path: Path, predict: Callable[..., Said], name: str, delimiter: str
) -> None:
    model = PersonalModel.from_run(run, "clinic")
    known = [model.predict(text=word) for word in WORDS]
    given = table(tmp_path / "a.csv", (name, "number"), *NOTES, delimiter=delimiter)
    for output in (tmp_path / "out.csv", tmp_path / "out.jsonl"):
        code, said, _ = predict("--client", "clinic", "-i", given, "-o", output, "--batch-size", 3)
        assert (code, said.split(":")[0]) == (0, "10 answered")
        found = rows_of(output)
        assert [(row[name], row["number"]) for row in found] == NOTES
        assert [row["prediction"] for row in found] == [answer["label"] for answer in known]
        for row, answer in zip(found, known, strict=True):
            assert float(row["probability"]) == pytest.approx(answer["probabilities"][answer["label"]], abs=2e-6)
    assert set(found[0]["probabilities"]) == {"routine", "urgent"}


def test_a_folder_of_pictures_and_a_table_that_names_them(
    run: Path, tmp_path: Path, predict: Callable[..., Said]
) -> None:
    places = [tmp_path / "scans" / name for name in ("a.png", "sub/b.png")]
    for shade, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), 40 + 150 * shade, np.uint8)).save(place)
    assert predict("-c", "lab", "-t", "cells", "-i", tmp_path / "scans", "-o", tmp_path / "a.jsonl")[0] == 0
    named = table(tmp_path / "scans" / "t.csv", ("image",), ("a.png",), ("sub/b.png",))
    assert predict("-c", "lab", "-t", "cells", "-i", named, "-o", tmp_path / "b.jsonl")[0] == 0
    assert rows_of(tmp_path / "a.jsonl") == rows_of(tmp_path / "b.jsonl")
    assert [row["image"] for row in rows_of(tmp_path / "a.jsonl")] == ["a.png", "sub/b.png"]
    assert predict("-c", "lab", "-t", "redraw", "-i", tmp_path / "scans", "-o", tmp_path / "c.csv")[0] == 0
    drawn = [read_image(tmp_path / row["prediction"]) for row in rows_of(tmp_path / "c.csv")]
    model = PersonalModel.from_run(run, "lab")
    assert all(
        np.array_equal(one, model.predict(image=place, task="redraw")) for one, place in zip(drawn, places, strict=True)
    )


def test_a_table_may_not_choose_what_is_read(tmp_path: Path, predict: Callable[..., Said]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    named = table(tmp_path / "in" / "t.csv", ("image",), ("../secret.png",))
    asked = ("-c", "lab", "-t", "cells", "-i", named, "-o", tmp_path / "o.csv")
    code, _, error = predict(*asked)
    assert code == 2
    assert "lies outside" in error
    assert not (tmp_path / "o.csv").exists()
    assert predict(*asked, "--pictures", tmp_path)[0] == 0


def test_what_cannot_be_read_stops_the_table_or_is_written_down(tmp_path: Path, predict: Callable[..., Said]) -> None:
    given = tmp_path / "a.csv"
    given.write_text("text\nrain,surplus\nsun\n \nsnow\n")
    asked = ("-c", "clinic", "-i", given, "-o", tmp_path / "o.csv")
    code, _, error = predict(*asked)
    assert code == 2
    assert f"{given}:2: not 1 fields" in error
    assert "--on-unreadable skip" in error
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    code, said, error = predict(*asked, "--on-unreadable", "skip")
    assert code == 0
    assert said.startswith("2 answered")
    assert "2 of 4 could not be read" in error
    found = rows_of(tmp_path / "o.csv")
    assert [bool(row["error"]) for row in found] == [True, False, True, False]
    assert [bool(row["prediction"]) for row in found] == [False, True, False, True]


def test_one_load_of_weights_for_a_whole_table(tmp_path: Path, predict: Callable[..., Said]) -> None:
    given = table(tmp_path / "a.csv", ("text",), *((f"word {i}",) for i in range(70)))
    before = loads()
    assert predict("-c", "clinic", "-i", given, "-o", tmp_path / "o.csv", "--batch-size", 8)[0] == 0
    assert loads() - before <= 2
    assert len(rows_of(tmp_path / "o.csv")) == 70


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("-i", "no.csv", "-o", "o.csv"), "no such file"),
        (("-i", "a.xml", "-o", "o.csv"), "ends in .csv or .jsonl"),
        (("-i", "a.csv", "-o", "o.txt"), "ends in .csv or .jsonl"),
        (("-i", "a.csv"), "go together"),
        (("-i", "a.csv", "-o", "o.csv", "--text", "x"), "leave out --image"),
        (("-i", "a.csv", "-o", "no/o.csv"), "there is no folder"),
        (("-i", "a.csv", "-o", "o.csv", "--on-unreadable", "ask"), "give refuse or skip"),
        (("-i", "taken.csv", "-o", "o.csv"), "has a column 'prediction'"),
        (("-i", "b.csv", "-o", "o.csv"), "no column 'text'"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    predict: Callable[..., Said],
    asked: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "a.csv", ("text",), ("rain",))
    table(tmp_path / "b.csv", ("txt",), ("rain",))
    table(tmp_path / "taken.csv", ("text", "prediction"), ("rain", "1"))
    (tmp_path / "a.xml").touch()
    code, _, error = predict("-c", "clinic", *asked)
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "o.csv").exists()


def test_rows_are_answered_as_they_are_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream: the third batch is not read before the first is written."""
    from fedtap.models import tables

    order: list[str] = []
    model = PersonalModel.from_run(run, "clinic")
    given = table(tmp_path / "a.csv", ("text",), *((word,) for word in WORDS))
    real = tables.inputs_of

    def seen(*arguments: Any) -> Any:
        order.append("read")
        return real(*arguments)

    monkeypatch.setattr(tables, "inputs_of", seen)
    with tables.AnswerWriter(tmp_path / "o.csv") as writer:
        tables.answer_rows(
            model,
            tables.RowReader(model.task(None), given),
            writer,
            batch_size=5,
            tell=lambda done: order.append("done"),
        )
    assert order == [*["read"] * 5, "done", *["read"] * 5, "done"]
