"""What a client's saved model answers, through the real weights of a finished run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedtap as package
from e2e.conftest import Command, snapshot
from fedtap.backbones.base import load_backbone
from fedtap.data.encode import FeatureCache, default_folder
from fedtap.models.answers import _features
from fedtap.models.given import Example, inputs_of
from fedtap.models.saved_model import ModelTask
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import load_scenario
from tiny_federation import MOODS


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "grey.png"
    Image.fromarray(np.full((20, 30, 3), 90, dtype=np.uint8)).save(path)
    return path


def test_a_classifier_gives_probabilities_of_its_classes(whole: Path) -> None:
    answer = package.predict(whole, client="reader", task="mood", text="a warm and funny film")
    assert answer["model"] == "personal"
    probabilities = answer["output"]["probabilities"]
    assert tuple(probabilities) == MOODS
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer["output"]["label"] == max(probabilities, key=probabilities.__getitem__)


def test_a_painter_gives_a_picture_and_an_asker_a_text(whole: Path, picture: Path) -> None:
    drawn = package.predict(whole, client="painter", task="redraw", image=picture)["output"]
    assert drawn.shape == (64, 64, 3)
    assert drawn.dtype == np.uint8
    said = package.predict(whole, client="asker", task="ask", image=picture, text="how dark is it?")["output"]
    assert isinstance(said, str)


def test_unless_told_otherwise_the_model_that_the_method_deploys_answers(
    scenario: Path, tmp_path: Path, fedtap: Command, no_report: None
) -> None:
    options = ("--method", "fedavg_ft", "--set", "rounds=1", "--set", "evaluation.save=all", "--out", tmp_path / "run")
    assert fedtap("run", scenario, *options).code == 0
    assert (tmp_path / "run" / "clients" / "reader" / "federated").exists()
    answer = package.predict(tmp_path / "run", client="reader", task="mood", text="a dull film")
    assert answer["model"] == "finetuned"


def test_the_same_question_gets_the_same_answer(whole: Path, picture: Path) -> None:
    first, second = (package.predict(whole, client="painter", task="shade", image=picture) for _ in range(2))
    assert first == second


def test_asking_writes_nothing_and_needs_no_cache(whole: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = package.predict(whole, client="reader", task="mood", text="a warm and funny film")

    def no_writing(*_: object) -> None:
        raise AssertionError("something was written")

    monkeypatch.setattr("fedtap.runtime.storage.tempfile.mkstemp", no_writing)
    monkeypatch.setenv("FEDTAP_CACHE", "/proc/no/such/place")
    before = snapshot(whole)
    assert package.predict(whole, client="reader", task="mood", text="a warm and funny film") == known
    package.predict(whole, client="painter", task="redraw", image=picture)
    assert snapshot(whole) == before


def test_the_answer_is_that_of_the_encoded_example(whole: Path, scenario: Path) -> None:
    """What is not stored is rounded as what is stored: a prediction is the one that the run's evaluation made."""
    loaded = load_scenario(scenario)
    tower = load_backbone(loaded.backbone, "cpu").text
    item = ("known", lambda: "a warm and funny film")
    (stored,) = FeatureCache(default_folder(), tower).get([item])
    (made,) = _features(tower, ["a warm and funny film"])
    assert np.array_equal(stored, made)


def test_the_command_says_the_label_first(whole: Path, fedtap: Command) -> None:
    done = fedtap("predict", whole, "--client", "reader", "--task", "mood", "--text", "a dull film")
    assert done.code == 0
    assert done.out.split()[0] in MOODS


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"client": "raeder", "task": "mood", "text": "x"}, "did you mean 'reader'"),
        ({"client": "reader", "task": "mod", "text": "x"}, "did you mean 'mood'"),
        ({"client": "reader", "task": "mood"}, "needs a text; add --text"),
        ({"client": "reader", "task": "mood", "text": "  "}, "is empty"),
        ({"client": "painter", "task": "shade"}, "needs an image; add --image"),
        ({"client": "painter", "task": "shade", "image": "x.png", "text": "x"}, "leave out --text"),
        ({"client": "reader", "task": "mood", "text": "x", "model": "persnal"}, "did you mean 'personal'"),
    ],
)
def test_what_does_not_fit_is_refused(whole: Path, asked: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        package.predict(whole, **asked)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        package.predict(tmp_path, client="a", task="b")


def test_a_picture_is_seen_by_the_range_that_it_was_trained_with(tmp_path: Path) -> None:
    wide = np.array([[0, 4095], [2000, 1000]], dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    told = {"name": "t", "type": "classification", "modality": "image", "domain": "d", "head": "t"}
    for limits, brightest in ((None, 16), ((0.0, 4095.0), 255)):
        seen = inputs_of(ModelTask(**told, range=limits), Example(tmp_path / "a.png"))
        assert seen.image is not None
        assert seen.image.max() == brightest
