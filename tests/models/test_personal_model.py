"""A model that has left its run: asked in a fresh process, from a folder moved elsewhere, with run and data deleted."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import yaml
from PIL import Image

import fedtap
from fedtap.backbones.batches import run_fixed_batches
from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import write_sealed_json
from tiny_federation import called

WORDS = ("rain", "sun", "snow", "wind", "cloud", "storm", "frost", "heat", "fog", "hail")
SPLITS = (*("train",) * 6, *("validation",) * 2, *("test",) * 2)
LAB = {split: f"lab/{split}" for split in ("train", "validation", "test")}
SCENARIO: dict[str, Any] = {
    "rounds": 2,
    "clients_per_round": 2,
    "local_steps": 2,
    "batch_size": 4,
    "backbone": {"vision": "untrained-tiny", "text": "untrained-tiny", "image_size": 64, "text_tokens": 8},
    "network": {"dim": 8, "heads": 2, "expert_dim": 8, "domain_dim": 4},
    "training": {"finetune_steps": 2, "select_every": 1},
}


def own_data(folder: Path) -> Path:
    """Write ten rows of CSV for one site and ten pictures for another, and their scenario; return the scenario."""
    draw = np.random.default_rng(3)
    (folder / "clinic").mkdir(parents=True)
    with (folder / "clinic" / "notes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["note", "label", "split"])
        table.writerows((f"{word} today", ("routine", "urgent")[i % 2], SPLITS[i]) for i, word in enumerate(WORDS))
    for i in range(10):
        place = folder / "lab" / SPLITS[i] / ("dark", "light")[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((draw.integers(0, 100, (32, 32, 3)) + 150 * (i % 2)).astype(np.uint8)).save(place)
    triage = {"name": "triage", "type": "classification", "modality": "text", "domain": "notes", "source": "csv",
              "path": "clinic/notes.csv", "columns": {"text": "note"}, "classes": ["routine", "urgent"]}  # fmt: skip
    cells = {"name": "cells", "type": "classification", "modality": "image", "domain": "cells", "source": "folder",
             "path": LAB, "classes": ["dark", "light"]}  # fmt: skip
    redraw = {"name": "redraw", "type": "reconstruction", "modality": "image", "domain": "cells", "source": "folder",
              "path": LAB}  # fmt: skip
    clients = [{"id": "clinic", "tasks": [triage]}, {"id": "lab", "tasks": [cells, redraw]}]
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, "clients": clients}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    assert called("run", own_data(folder), "--out", folder / "run") == 0
    return folder / "run"


ASK = """
import json, sys
import fedtap
answers = {}
for folder, given in zip(("clinic", "lab"), json.loads(sys.argv[1])):
    model = fedtap.PersonalModel.from_pretrained(folder)
    answers[folder] = [output["probabilities"] for _, output in model.predict_many(given, task=sys.argv[2 + len(answers)])]
print(json.dumps(answers))
"""


def test_ten_rows_and_ten_pictures_to_answers_in_a_fresh_process_with_run_and_data_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert called("run", own_data(home), "--out", home / "run") == 0
    given = [[f"{word} tomorrow" for word in WORDS], str(tmp_path / "elsewhere" / "new")]
    shutil.copytree(home / "lab", given[1])
    known = {
        client: [
            output["probabilities"]
            for _, output in PersonalModel.from_run(home / "run", client).predict_many(asked, task=task)
        ]
        for client, asked, task in zip(("clinic", "lab"), given, ("triage", "cells"), strict=True)
    }
    for client in ("clinic", "lab"):
        assert called("export", home / "run", "--client", client, "--to", home / "models" / client) == 0
        shutil.move(home / "models" / client, tmp_path / "elsewhere" / client)
    shutil.rmtree(home)
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(given), "triage", "cells"],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for client, answers in known.items():
        assert len(answers) == 10
        for mine, theirs in zip(answers, found[client], strict=True):
            assert mine.keys() == theirs.keys()
            for label, probability in mine.items():
                assert theirs[label] == pytest.approx(probability, abs=1e-6)
    assert len({str(answer) for answer in known["lab"]}) > 1  # it does look at the pictures


def test_the_folder_names_no_place_of_the_machine_and_no_data(run: Path, tmp_path: Path) -> None:
    folder = PersonalModel.from_run(run, "clinic").save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in folder.rglob("*")) == ["README.md", "config.json", "model.safetensors"]
    told = (folder / "config.json").read_text() + (folder / "README.md").read_text()
    assert str(run.parent) not in told
    assert "notes.csv" not in told
    config = json.loads(told[: told.rindex("}") + 1])
    assert [origin["source"] for origin in config["origins"]] == ["seed", "seed"]
    assert config["tasks"][0]["classes"] == ["routine", "urgent"]
    assert config["preprocessing"]["text"]["tokens"] == 8
    assert (folder / "model.safetensors").read_bytes() == (
        run / "clients" / "clinic" / "personal" / "model.safetensors"
    ).read_bytes()


def test_card_and_tasks_come_along(run: Path, tmp_path: Path) -> None:
    of_run = PersonalModel.from_run(run, "lab")
    model = PersonalModel.from_pretrained(of_run.save_pretrained(tmp_path / "model"))
    assert model.card == of_run.card
    assert model.card.startswith("---\nlibrary_name: fedtap\n")
    assert "# Model `personal` of client `lab`" in model.card
    assert "PersonalModel.from_pretrained" in model.card
    assert list(model.tasks) == ["cells", "redraw"]
    assert model.tasks["cells"].classes == ("dark", "light")
    assert (model.client, model.name) == ("lab", "personal")
    again = PersonalModel.from_pretrained(model.save_pretrained(tmp_path / "again"))
    assert again.card == of_run.card
    (tmp_path / "again" / "README.md").write_text("my own words")
    assert PersonalModel.from_pretrained(tmp_path / "again").card == "my own words"


def test_a_picture_may_be_a_file_bytes_pillows_or_an_array(run: Path, tmp_path: Path) -> None:
    model = PersonalModel.from_run(run, "lab")
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    file = tmp_path / "a.png"
    Image.fromarray(pixels).save(file)
    forms = [file, str(file), file.read_bytes(), Image.open(file), pixels]
    answers = [model.predict(image=form, task="cells") for form in forms]
    assert all(answer == answers[0] for answer in answers)
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    drawn = model.predict(image=pixels, task="redraw")
    assert (drawn.shape, drawn.dtype) == ((64, 64, 3), np.uint8)
    grey = model.predict(image=pixels[:, :, 0], task="cells")
    assert grey == model.predict(image=np.repeat(pixels[:, :, :1], 3, axis=2), task="cells")


def test_a_batch_answers_as_one_by_one_however_it_is_cut(run: Path) -> None:
    model = PersonalModel.from_run(run, "clinic")
    texts = [f"{word} " * (1 + i % 4) for i, word in enumerate(WORDS)]
    alone = [model.predict(text=text)["probabilities"]["urgent"] for text in texts]
    for size in (1, 3, 32):
        found = [output["probabilities"]["urgent"] for _, output in model.predict_many(texts, batch_size=size)]
        assert found == pytest.approx(alone, abs=2e-6)
    frames = pandas.DataFrame({"note": texts, "other": range(10)}), pandas.DataFrame({"text": texts})
    for frame in frames:  # by the name of the training data, and by the plain one
        found = [output["probabilities"]["urgent"] for _, output in model.predict_many(frame, batch_size=4)]
        assert found == pytest.approx(alone, abs=2e-6)
    assert [example.text for example, _ in model.predict_many(texts)] == texts


def test_nothing_is_read_ahead_of_its_batch(run: Path) -> None:
    taken: list[str] = []

    def stream() -> Iterator[str]:
        for word in WORDS:
            taken.append(word)
            yield word

    found = PersonalModel.from_run(run, "clinic").predict_many(stream(), batch_size=2)
    next(found)
    assert taken == list(WORDS[:2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["fine", ""], "example 1: is empty"),
        (["fine", 7], "example 1: a text is int"),
        ([{"txt": "a"}], "example 0: task 'triage' needs a text"),
        (7, "examples are int"),
        ({"text": "a"}, "examples are dict"),
        ("nowhere", "takes text; give a table"),
        (["\ud800"], "half a character"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(run: Path, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(PersonalModel.from_run(run, "clinic").predict_many(given))


def test_a_folder_of_pictures_is_read_in_the_order_of_names_without_what_is_hidden(run: Path, tmp_path: Path) -> None:
    model = PersonalModel.from_run(run, "lab")
    for name in ("b.png", "a.PNG", "sub/c.jpg", ".hidden.png", "__MACOSX/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = [example.image.name for example, _ in model.predict_many(tmp_path, task="cells")]
    assert found == ["a.PNG", "b.png", "c.jpg"]
    with pytest.raises(UserError, match="no such folder"):
        next(model.predict_many(tmp_path / "none", task="cells"))


def test_which_task_must_be_said_where_there_are_several(run: Path) -> None:
    model = PersonalModel.from_run(run, "lab")
    with pytest.raises(UserError, match="cells, redraw"):
        model.predict(image=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="did you mean 'cells'"):
        model.predict(image=np.zeros((4, 4, 3), np.uint8), task="cell")


# --- folders that are not what they were -----------------------------------------------------------------------------------


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    return PersonalModel.from_run(run, "clinic").save_pretrained(tmp_path / "model")


def resealed(folder: Path, *keys: Any, value: Any) -> None:
    """Change what config.json says, and seal it again, as a stranger would."""
    told = json.loads((folder / "config.json").read_text())
    told.pop("digest")
    of, here = told.pop("of"), told
    for key in keys[:-1]:
        here = here[key]
    here[keys[-1]] = value
    write_sealed_json(folder / "config.json", told, of)


HOSTILE: dict[str, tuple[tuple[Any, ...], Any]] = {
    "another format": (("format",), "fedtap personal model 9"),
    "an unknown key": (("extra",), 1),
    "an unknown architecture": (("architecture",), "skynet"),
    "no tasks": (("tasks",), []),
    "a task of an unknown type": (("tasks", 0, "type"), "magic"),
    "a task whose name leads away": (("tasks", 0, "name"), "../../x"),
    "a billion classes": (("tasks", 0, "classes"), 10**9),
    "more classes than the head has": (("tasks", 0, "classes"), ["a"] * 1000),
    "a million dimensions": (("network", "dim"), 10**6),
    "a billion layers": (("network", "layers"), 10**9),
    "wide": (("network", "dim"), 65_536),
    "a picture of a billion": (("backbone", "image_size"), 10**9),
    "an unknown backbone": (("backbone", "name"), "skynet"),
    "an unknown tower": (("backbone", "text"), "skynet"),
    "another kind": (("kind",), "0" * 64),
    "another client": (("client",), "somebody"),
    "a client that leads away": (("client",), "../.."),
    "another digest": (("files", "model.safetensors"), "0" * 64),
    "no digest": (("files",), {}),
    "a file elsewhere": (("origins", 0, "files"), {"../x": "0" * 64}),
    "a tower of a folder that is not there": (("origins", 0, "source"), "folder"),
    "a tower that this version pins otherwise": (("origins", 0, "files"), {"untrained-tiny": "0" * 64}),
    "a seed of text": (("seed",), "zero"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_one_line(what: str, folder: Path) -> None:
    keys, value = HOSTILE[what]
    resealed(folder, *keys, value=value)
    with pytest.raises(UserError) as told:
        PersonalModel.from_pretrained(folder)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


def test_damage_and_links_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        PersonalModel.from_pretrained(folder)
    weights.unlink()
    (tmp_path / "outside").write_bytes(whole)
    weights.symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out of the folder"):
        PersonalModel.from_pretrained(folder)
    config.write_text(config.read_text().replace("triage", "triaje"))
    with pytest.raises(UserError, match="does not match its digest"):
        PersonalModel.from_pretrained(folder)
    config.unlink()
    with pytest.raises(UserError, match="holds no model"):
        PersonalModel.from_pretrained(folder)


def test_names_of_nothing_and_of_runs_are_told_apart(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder, and no name on the hub"):
        PersonalModel.from_pretrained(tmp_path / "none")
    with pytest.raises(UserError, match="from_run"):
        PersonalModel.from_pretrained(run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="is not empty"):
        PersonalModel.from_run(run, "lab").save_pretrained(tmp_path / "full")


def test_a_second_answer_reads_no_weights(run: Path) -> None:
    from fedtap.backbones.weights import loads

    model = PersonalModel.from_run(run, "clinic")
    model.predict(text="rain")
    before = loads()
    model.predict(text="sun")
    assert loads() == before
    assert fedtap.predict(run, client="clinic", task="triage", text="sun")["output"] == model.predict(text="sun")


def test_a_single_example_may_go_through_the_encoders_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where that is asked for, and only a single one: several fill the batches that training had."""
    sizes: list[int] = []

    def counted(batches: Any, forward: Any, *, rows: int, device: Any) -> Any:
        sizes.append(rows)
        return run_fixed_batches(batches, forward, rows=rows, device=device)

    monkeypatch.setattr("fedtap.backbones.base.run_fixed_batches", counted)
    exact, quick = (PersonalModel.from_run(run, "clinic", exact=exact) for exact in (True, False))
    texts = [f"{word} today" for word in WORDS[:3]]
    known = [exact.predict(text=text)["probabilities"] for text in texts]
    filled = set(sizes)
    assert len(filled) == 1
    assert min(filled) > 1
    sizes.clear()
    alone = [quick.predict(text=text)["probabilities"] for text in texts]
    assert sizes == [1, 1, 1]
    for mine, theirs in zip(alone, known, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
    sizes.clear()
    assert [output["probabilities"] for _, output in quick.predict_many(texts)] == [
        pytest.approx(each, abs=2e-6) for each in known
    ]
    assert set(sizes) == filled
    tower = quick.loaded.backbone.text
    assert tower.one_by_one().id != tower.id  # its features are not to be taken for those of the cache
