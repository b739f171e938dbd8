"""A site that joins a finished run: what the run itself reports of a client it held out, and a site with classes of its own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedtap as library
from fedtap.onboarding.gain import Scored, difference_interval
from fedtap.onboarding.onboard import Onboarded
from fedtap.runtime.errors import UserError
from tiny_federation import CLIENTS, TASKS, UNSEEN, called, write_scenario

SMALL = ("rounds=1", "evaluation.save=all", "evaluation.cross_examples=2")


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDTAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny scenario and its data."""
    return write_scenario(tmp_path_factory.mktemp("tiny")).parent


@pytest.fixture(scope="module")
def finished(home: Path) -> Path:
    """A run of TAP that lets each task choose its model, with a client held out."""
    library.run(home / "tiny.yaml", method="tap", overrides=[*SMALL, "choose=on"], out=home / "run")
    return home / "run"


def site(home: Path, name: str = "new.yaml", **changes: Any) -> Path:
    """Write the file of a client, the one that was held out unless told otherwise."""
    tasks = [{"name": task, **TASKS[task]} for task in CLIENTS[UNSEEN]]
    path = home / name
    path.write_text(yaml.safe_dump({"id": UNSEEN, "tasks": tasks} | changes, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def joined(finished: Path, home: Path) -> Onboarded:
    return library.onboard(finished, client=site(home), to=home / "model")


def test_a_client_that_was_held_out_gets_what_the_run_reports_of_it(finished: Path, joined: Onboarded) -> None:
    told = json.loads((finished / "results.json").read_text())["rows"]
    expected = {
        (r["task"], r["model"], r["metric"]): r for r in told if r["client"] == UNSEEN and r["split"] == "unseen"
    }
    found = {(row["task"], row["model"], row["metric"]): row for row in joined.rows}
    assert found.keys() == expected.keys() != set()
    for key, row in expected.items():
        assert found[key]["value"] == pytest.approx(row["value"], abs=1e-6), key
        assert found[key]["n"] == row["n"]
    assert joined.notes == joined.fresh == []


def test_its_model_answers_as_that_of_the_run(finished: Path, joined: Onboarded, home: Path) -> None:
    ours = library.PersonalModel.from_pretrained(home / "model")
    theirs = library.PersonalModel.from_run(finished, UNSEEN)
    assert (ours.name, ours.client) == (theirs.name, theirs.client) == ("chosen", UNSEEN)
    for text in ("a fine film", "a poor film"):
        one, other = (model.predict(text=text)["probabilities"] for model in (ours, theirs))
        assert one == pytest.approx(other, abs=1e-6)


def test_training_alone_is_what_a_run_of_it_reports(finished: Path, joined: Onboarded, home: Path) -> None:
    told = library.run(home / "tiny.yaml", method="local", overrides=SMALL, out=home / "local")["rows"]
    (expected,) = (
        row["value"]
        for row in told
        if (row["client"], row["split"], row["model"], row["metric"]) == (UNSEEN, "unseen", "personal", "accuracy")
    )
    (gain,) = joined.gains
    assert gain.alone == pytest.approx(expected, abs=1e-6)
    assert gain.difference == pytest.approx(gain.personal - gain.alone)
    assert gain.ci95 is not None
    assert gain.ci95[0] <= gain.difference <= gain.ci95[1]
    assert gain.n == 6


def test_the_numbers_are_in_the_folder_too(joined: Onboarded, home: Path) -> None:
    told = json.loads((home / "model/onboarding.json").read_text())
    assert told["rows"] == joined.rows
    assert told["gains"][0]["difference"] == joined.gains[0].difference
    assert told["steps"] == joined.steps
    assert str(home) not in (home / "model/onboarding.json").read_text()


@pytest.fixture(scope="module")
def stranger(home: Path) -> Path:
    """A site in a folder of its own: the run's task by name, with other classes."""
    folder = home.parent / f"{home.name}-site"
    folder.mkdir()
    rows = [{"text": f"note {i}", "label": ("low", "mid", "high")[i % 3]} for i in range(40)]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"name": "mood", "type": "classification", "modality": "text", "domain": "ward", "source": "jsonl"}
    task |= {"path": "notes.jsonl", "classes": ["low", "mid", "high"]}
    return site(folder, "s.yaml", id="ward", tasks=[task])


def test_a_site_with_classes_of_its_own_gets_a_head_of_its_own(
    finished: Path,
    stranger: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtap.cli.models.onboard.FEW", 1000)
    assert called("onboard", finished, "--client", stranger, "--to", tmp_path / "m") == 0
    said = capsys.readouterr().out
    assert "it gets a head of its own, 'mood-ward', untrained" in said
    told = json.loads((tmp_path / "m/onboarding.json").read_text())
    (gain,) = told["gains"]
    assert f"mood: n is {gain['n']}, too few test examples" in said
    assert "head/mood-ward" in told["untrained"]
    assert not any(key.startswith("encoder") for key in told["untrained"])
    model = library.PersonalModel.from_pretrained(tmp_path / "m")
    assert set(model.predict(text="a note")["probabilities"]) == {"low", "mid", "high"}


def test_what_the_server_has_learnt_is_in_the_slice(finished: Path, stranger: Path, tmp_path: Path) -> None:
    """Without a step of its own the site's encoder is the server's, tensor by tensor."""
    from fedtap.federation.checkpoint import Checkpoint

    (lazy,) = [yaml.safe_load(stranger.read_text())]
    done = library.onboard(
        finished,
        client=site(stranger.parent, "lazy.yaml", **lazy),
        to=tmp_path / "m",
        overrides=["training.finetune_lr=1e-30"],
    )
    checkpoint = Checkpoint.load(finished / "checkpoint/server.safetensors")
    assert checkpoint is not None
    held = done.model.loaded.saved.state
    for key in held.keys() & checkpoint.state.components.keys():
        for name, tensor in held[key].items():
            assert tensor.sub(checkpoint.state.components[key][name]).abs().max() < 1e-6, (key, name)
    assert any(key.kind == "encoder" for key in held.keys() & checkpoint.state.components.keys())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "reader"}, "client 'reader': took part in .* has a model there"),
        (
            {"tasks": [{"name": "mood", **TASKS["mood"], "domain": "other"}]},
            "held out a client of this id with other tasks",
        ),
        ({"count": 2}, "one site joins at a time"),
        ({"roundz": 2}, "unknown key 'roundz'"),
        ({"clients": [{}, {}]}, "a scenario of 2 clients"),
        (
            {"id": "x", "tasks": [{"name": "mood", **TASKS["mood"], "path": "gone.csv"}]},
            "gone.csv: the table cannot be read",
        ),
    ],
)
def test_a_client_that_does_not_fit_is_one_line(
    changes: dict[str, Any], why: str, finished: Path, home: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=why):
        library.onboard(finished, client=site(home, "wrong.yaml", **changes), to=tmp_path / "m")


def test_a_run_must_be_there_finished_and_whole(finished: Path, home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        library.onboard(home, client=site(home), to=tmp_path / "m")
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "checkpoint/server.safetensors").unlink()
    with pytest.raises(UserError, match="the server's model is missing"):
        library.onboard(copy, client=site(home), to=tmp_path / "m")
    (copy / "results.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        library.onboard(copy, client=site(home), to=tmp_path / "m")


def test_other_data_under_the_same_id_are_said(finished: Path, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "data"
    other.mkdir()
    lines = [f"another film {i},{('sad', 'glad')[i % 2]}" for i in range(60)]
    (other / "films.csv").write_text("\n".join(["sentence,mood", *lines]))
    done = library.onboard(finished, client=site(tmp_path), to=tmp_path / "m")
    assert done.notes == [
        f"client '{UNSEEN}': the run has tested it on other data; its results there are no measure of these"
    ]


def test_the_interval_weighs_examples_as_the_metric_does() -> None:
    ours, theirs = Scored([1.0, 0.0, 4.0], [1, 1, 2]), Scored([0.0, 0.0, 4.0], [1, 1, 2])
    assert ours.mean == 9 / 4
    low, high = difference_interval(ours, theirs, -1) or (0, 0)
    assert low == pytest.approx(-1.0, abs=0.26)  # the one example that differs is drawn up to three times: 3 x 3/4 / 3
    assert low < -(ours.mean - theirs.mean) <= high <= 0
