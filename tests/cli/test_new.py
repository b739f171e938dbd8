"""``fedtap new``: from a user's files to a scenario that validates, plans, checks and runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedtap.cli.own.new import ManyPlaces, new
from fedtap.models.personal_model import PersonalModel
from fedtap.scenario.scenario import load_scenario

TINY = [
    word
    for setting in (
        "rounds=1",
        "local_steps=1",
        "backbone.vision=untrained-tiny",
        "backbone.text=untrained-tiny",
        "backbone.image_size=64",
        "network.dim=8",
        "network.heads=2",
        "training.finetune_steps=1",
    )
    for word in ("--set", setting)
]


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten rows of CSV at each of two sites, ten pictures at a third."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
    for site in ("clinic", "hospital"):
        (tmp_path / site).mkdir()
        with (tmp_path / site / "notes.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["note", "urgency"])
            table.writerows([f"{site} note, number {i}", ("urgent", "routine")[i % 2]] for i in range(10))
    draw = np.random.default_rng(0)
    for i in range(10):
        path = tmp_path / "lab/cells" / ("sick", "well")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path


def test_ten_rows_become_a_model_that_answers(sites: Path, fedtap) -> None:  # type: ignore[no-untyped-def]
    made = fedtap("new", "study", "--from", "clinic/notes.csv", "hospital/notes.csv", "lab/cells")
    assert (made.code, made.err) == (0, "")
    assert "clinic, hospital share the task urgency" in made.out
    assert "study/scenario.yaml: the data are sound" in made.out
    scenario = load_scenario("study/scenario.yaml")
    assert [task.path for client in scenario.clients for task in client.tasks] == [
        "../clinic/notes.csv",
        "../hospital/notes.csv",
        "../lab/cells",
    ]
    assert fedtap("scenario", "validate", "study/scenario.yaml").code == 0
    assert fedtap("scenario", "plan", "study/scenario.yaml").code == 0
    assert fedtap("run", "study/scenario.yaml", "--out", "run", *TINY).code == 0
    assert fedtap("export", "run", "--client", "clinic", "--to", "model").code == 0
    answer = PersonalModel.from_pretrained("model").predict(text="a note")
    assert set(answer["probabilities"]) == {"urgent", "routine"}


def test_a_doubtful_guess_names_the_line_to_change(sites: Path, fedtap) -> None:  # type: ignore[no-untyped-def]
    rows = "\n".join(f"how is number {i}?,{('good', 'bad')[i % 2]}" for i in range(40))
    (sites / "q.csv").write_text(f"question,answer\n{rows}")
    made = fedtap("new", "study", "--from", "q.csv")
    (doubt,) = (line for line in made.out.splitlines() if line.startswith("Unsure: "))
    assert "'answer' has few different values, so it is taken for classes" in doubt
    number = int(doubt.split(":")[2])
    line = (sites / "study/scenario.yaml").read_text().splitlines()[number - 1]
    assert line.strip().startswith("type: classification #")
    assert "UNSURE" in line


def test_what_is_wrong_with_the_data_is_told_and_the_scenario_is_there_to_mend(sites: Path, fedtap) -> None:  # type: ignore[no-untyped-def]
    with (sites / "clinic/notes.csv").open("a") as file:
        file.write("a row with too many,fields,here\n")
    made = fedtap("new", "study", "--from", "clinic/notes.csv")
    assert made.code == 2
    assert "clinic/notes.csv:12: not 2 fields" in made.err
    assert (sites / "study/scenario.yaml").is_file()


def test_a_scenario_that_is_there_is_not_written_over(sites: Path, fedtap) -> None:  # type: ignore[no-untyped-def]
    (sites / "study").mkdir()
    (sites / "study/scenario.yaml").write_text("mine")
    made = fedtap("new", "study", "--from", "clinic/notes.csv")
    assert (made.code, made.err.count("\n")) == (2, 1)
    assert "is there already" in made.err
    assert (sites / "study/scenario.yaml").read_text() == "mine"
    assert "--from is missing" in fedtap("new", "other").err


def test_names_of_classes_and_files_can_do_no_harm(sites: Path, fedtap) -> None:  # type: ignore[no-untyped-def]
    odd = ("yes: [no", "\x1b[31m#- 'x'\u202e")
    path = sites / "a\nb: {.jsonl"
    rows = [{"text": f"t {i}", "label": odd[i % 2]} for i in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    made = fedtap("new", "study", "--from", str(path))
    assert made.code == 0
    assert "\x1b" not in made.out
    assert "\u202e" not in made.out
    (client,) = load_scenario("study/scenario.yaml").clients
    assert set(client.tasks[0].classes or ()) == set(odd)


def test_a_folder_of_the_library_datasets_is_read_as_it_is(sites: Path, fedtap) -> None:  # type: ignore[no-untyped-def]
    datasets = pytest.importorskip("datasets")
    draw = np.random.default_rng(1)  # other pictures than the lab's
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["sick", "well"])})

    def split(number: int) -> object:
        pixels = [Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)) for _ in range(number)]
        return datasets.Dataset.from_dict({"image": pixels, "label": [i % 2 for i in range(number)]}, features=features)

    datasets.DatasetDict(train=split(12), test=split(4), unused=split(2)).save_to_disk(str(sites / "set"))
    made = fedtap("new", "study", "--from", "set", "lab/cells")
    assert (made.code, made.err) == (0, ""), made.err
    first, second = load_scenario("study/scenario.yaml").clients
    assert (first.tasks[0].source, first.tasks[0].classes) == ("dataset", ("sick", "well"))
    assert (second.tasks[0].source, second.tasks[0].name) == ("folder", first.tasks[0].name)
    assert "its split 'unused' is none of train, validation and test" in made.out


def test_from_takes_all_words_up_to_the_next_option() -> None:
    import typer

    app = typer.Typer()
    app.command("new", cls=ManyPlaces)(new)
    command = typer.main.get_command(app)
    context = command.make_context("new", ["x", "--from", "a", "b", "--from", "c"])
    assert tuple(context.params["places"]) == ("a", "b", "c")
