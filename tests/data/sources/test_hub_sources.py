"""Every data set of the paper's federations, from a folder with the hub's schema to examples."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, NamedSplit
from PIL import Image

from fedtap.data.example import Example, text_key
from fedtap.data.pixels import look
from fedtap.data.sources import source
from fedtap.data.sources.hub.rows import Picture
from fedtap.data.sources.hub.rows import rows as rows_of
from fedtap.data.sources.hub.source import HubSource
from fedtap.data.sources.intake import Intake
from fedtap.runtime.errors import UserError
from hub_folders import data_set, features, picture, png, read, task, write

NAMES = (
    "ag_news",
    "tiny_imagenet",
    "cifar100",
    "caltech256",
    "fashion_mnist",
    "vqa_v2",
    "mmlu_professional_law",
    "mmlu_professional_medicine",
    "mmlu_moral_scenarios",
    "common_gen",
)
PICTURES: dict[str, dict[str, Any]] = {
    "tiny_imagenet": {"image": "image", "label": "label", "test": "valid", "first": 0, "last": 199, "more": {}},
    "cifar100": {
        "image": "img",
        "label": "fine_label",
        "test": "test",
        "first": 0,
        "last": 99,
        "more": {"coarse_label": 3},
    },
    "caltech256": {
        "image": "image",
        "label": "label",
        "test": "test",
        "first": 1,
        "last": 257,
        "more": {"text": "a thing"},
    },
    "fashion_mnist": {"image": "image", "label": "label", "test": "test", "first": 0, "last": 9, "more": {}},
}


def picture_rows(name: str, *rows: tuple[int, int]) -> list[dict[str, Any]]:
    """Return rows of (shade, label)."""
    about = PICTURES[name]
    mode = "L" if name == "fashion_mnist" else "RGB"
    return [
        {about["image"]: png(picture(shade, mode=mode)), about["label"]: label, **about["more"]}
        for shade, label in rows
    ]


def picture_folder(folder: Path, name: str) -> Path:
    """Write four pictures for training, one of them also among the two for testing, and, where it is there, validation."""
    about = PICTURES[name]
    first, last = about["first"], about["last"]
    splits = {
        "train": picture_rows(name, (1, first), (2, last), (3, first), (4, last)),
        about["test"]: picture_rows(name, (3, first), (9, last)),
    }
    if name == "caltech256":
        splits["validation"] = picture_rows(name, (77, first))
    return write(folder, name, splits)


def by_split(examples: tuple[Example, ...]) -> dict[str | None, list[Any]]:
    return {
        split: [example.target for example in examples if example.split == split]
        for split in ("train", "test", None)
        if any(example.split == split for example in examples)
    }


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_with_their_classes(tmp_path: Path, name: str) -> None:
    examples = read(name, picture_folder(tmp_path / "d", name), type="classification")
    last = PICTURES[name]["last"] - PICTURES[name]["first"]
    # what is published in both splits is test, and only there
    assert by_split(examples) == {"train": [0, last, last], "test": [0, last]}
    assert all(example.stratum == example.target and example.text is None for example in examples)
    assert len(source(name).classes(task(name))) == last + 1


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_to_be_drawn_again(tmp_path: Path, name: str) -> None:
    examples = read(name, picture_folder(tmp_path / "d", name), type="reconstruction")
    assert [example.split for example in examples] == ["test", "test", "train", "train", "train"]
    assert all(example.target is None and example.stratum == 0 for example in examples)
    mode = "L" if name == "fashion_mnist" else "RGB"
    for example, shade in zip(examples, (3, 9, 1, 2, 4), strict=True):
        assert example.image is not None
        pixels = picture(shade, mode=mode)
        assert np.array_equal(example.image.load(), pixels if mode == "RGB" else pixels[:, :, None].repeat(3, axis=2))
        file = tmp_path / "saved.tiff"  # the same picture, saved in another way
        Image.fromarray(pixels).save(file)
        assert example.key == look(file).key
    assert source(name).classes(task(name, type="reconstruction")) == ()


def test_examples_are_handed_to_another_process_as_references(tmp_path: Path) -> None:
    """The partition goes to workers in pickled form: no picture may go with it, and each can be had there."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 128, 128, 3), dtype=np.uint8)
    rows = [{"image": png(pixels), "label": 0} for pixels in noise]
    path = write(tmp_path / "d", "tiny_imagenet", {"train": rows, "valid": picture_rows("tiny_imagenet", (5, 0))})
    examples = read("tiny_imagenet", path, type="classification")
    sent = pickle.dumps(examples)
    assert len(sent) < min(len(row["image"]["bytes"]) for row in rows)
    arrived = pickle.loads(sent)
    assert [each.identity for each in arrived] == [each.identity for each in examples]
    for one, other in zip(arrived, examples, strict=True):
        assert np.array_equal(one.image.load(), other.image.load())


def test_a_damaged_picture_is_refused_or_skipped(tmp_path: Path) -> None:
    rows = picture_rows("tiny_imagenet", (1, 0), (2, 1))
    rows[1]["image"] = {"bytes": b"no picture at all", "path": "n01443537_7.JPEG"}
    path = write(tmp_path / "d", "tiny_imagenet", {"train": rows, "valid": picture_rows("tiny_imagenet", (5, 0))})
    fault = f"{path}, split 'train', row 1: 'image': not a readable image"
    with pytest.raises(UserError, match=re.escape(fault)) as error:
        read("tiny_imagenet", path)
    assert "\n" not in str(error.value)
    intake = Intake(skip=True)
    examples = source("tiny_imagenet").read(task("tiny_imagenet", path=str(path)), Path(), intake)
    assert len(examples) == 2
    assert intake.number_skipped == 1
    assert intake.skipped[0].startswith(fault)


def test_a_picture_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(png(picture(5))["bytes"])
    rows = [{"image": {"bytes": None, "path": str(file)}, "label": 3}]
    # saving takes the file along, so the set is handed over as `datasets` has it in memory

    (row,) = rows_of(data_set("tiny_imagenet", {"train": rows})["train"], {"image": Picture()}, place="d")
    assert row["image"].key == look(file).key
    assert np.array_equal(row["image"].load(), picture(5))


def test_news_is_title_and_description_and_labels_start_at_one(tmp_path: Path) -> None:
    rows = [
        {"label": 3, "title": " Oil falls ", "description": "Prices fell again."},
        {"label": 1, "title": "", "description": "Talks go on."},
        {"label": 4, "title": "Comet seen", "description": None},
        {"label": 3, "title": "Oil falls", "description": "Prices fell again."},
    ]
    test = [{"label": 2, "title": "Cup", "description": "Won in extra time."}]
    examples = read("ag_news", write(tmp_path / "d", "ag_news", {"train": rows, "test": test}))
    assert [(e.text, e.target, e.split) for e in examples] == [
        ("Cup. Won in extra time.", 1, "test"),
        ("Oil falls. Prices fell again.", 2, "train"),
        ("Talks go on.", 0, "train"),
        ("Comet seen", 3, "train"),
    ]
    assert all(e.key == text_key(e.text or "") and e.stratum == e.target and e.image is None for e in examples)
    assert source("ag_news").classes(task("ag_news")) == ("World", "Sports", "Business", "Sci/Tech")


def test_questions_about_a_picture_stay_together_and_strata_are_answers(tmp_path: Path) -> None:
    one, other = png(picture(1)), png(picture(2))
    rows = [
        {"question": "Is it red?", "multiple_choice_answer": "yes", "image": one},
        {"question": "How many?", "multiple_choice_answer": "2", "image": one},
        {"question": "Is it red?", "multiple_choice_answer": "no", "image": other},
    ]
    examples = read("vqa_v2", write(tmp_path / "d", "vqa_v2", {"validation": rows}))
    assert [(e.text, e.target, e.stratum) for e in examples] == [
        ("Is it red?", "yes", 2),
        ("How many?", "2", 0),
        ("Is it red?", "no", 1),
    ]
    assert examples[0].key == examples[1].key != examples[2].key
    assert all(e.split is None for e in examples)


def test_a_split_saved_alone_is_taken_by_its_name(tmp_path: Path) -> None:
    rows = {"question": ["What?"], "multiple_choice_answer": ["a cat"], "image": [png(picture(1))]}
    alone = Dataset.from_dict(rows, features=features("vqa_v2"), split=NamedSplit("validation"))
    alone.save_to_disk(tmp_path / "d")
    assert [example.target for example in read("vqa_v2", tmp_path / "d")] == ["a cat"]


def question(text: str, *, answer: int = 2, subject: str = "professional_law") -> dict[str, Any]:
    choices = ["a fine", "nothing", "the contract holds", "both"]
    return {"question": text, "subject": subject, "choices": choices, "answer": answer}


def test_an_examination_question_asks_for_the_text_of_the_right_choice(tmp_path: Path) -> None:
    splits = {
        "test": [question("Who pays?")],
        "validation": [question("Who sues?", answer=0)],
        "dev": [question("Why?")],
    }
    examples = read("mmlu_professional_law", write(tmp_path / "d", "mmlu_professional_law", splits))
    choices = "(A) a fine (B) nothing (C) the contract holds (D) both"
    assert [(e.text, e.target, e.split) for e in examples] == [
        (f"Who sues? choices: {choices} answer:", "a fine", "test"),
        (f"Who pays? choices: {choices} answer:", "the contract holds", "train"),
    ]


@pytest.mark.parametrize("subject", ["professional_medicine", "moral_scenarios"])
def test_each_subject_is_a_source_of_its_own(tmp_path: Path, subject: str) -> None:
    splits = {"test": [question("A?", subject=subject)], "validation": [question("B?", subject=subject)]}
    path = write(tmp_path / "d", f"mmlu_{subject}", splits)
    assert len(read(f"mmlu_{subject}", path)) == 2
    with pytest.raises(UserError, match=rf"row 0: 'subject' is {subject}, not professional_law; give the data of that"):
        read("mmlu_professional_law", path)


def test_sentences_of_one_set_of_concepts_stay_together(tmp_path: Path) -> None:
    train = [
        {"concept_set_idx": 0, "concepts": ["ski", "mountain", "skier"], "target": "A skier skis down a mountain."},
        {"concept_set_idx": 0, "concepts": ["mountain", "skier", "ski"], "target": "Skiers on the mountain."},
    ]
    validation = [{"concept_set_idx": 5, "concepts": ["dog", "run"], "target": "The dog runs."}]
    hidden = [{"concept_set_idx": 9, "concepts": ["cat", "sit"], "target": ""}]
    path = write(tmp_path / "d", "common_gen", {"train": train, "validation": validation, "test": hidden})
    examples = read("common_gen", path)
    assert [(e.text, e.target, e.split) for e in examples] == [
        ("write a sentence with the words: dog, run", "The dog runs.", "test"),
        ("write a sentence with the words: ski, mountain, skier", "A skier skis down a mountain.", "train"),
        ("write a sentence with the words: mountain, skier, ski", "Skiers on the mountain.", "train"),
    ]
    assert examples[1].key == examples[2].key != examples[0].key


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_without_data(name: str) -> None:
    this = source(name)
    assert isinstance(this, HubSource)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", this.hub)
    assert this.title
    assert this.licence
    this.check(task(name))  # a path is not needed
    this.check(task(name, "some/folder"))
    for changes, fault in (
        ({"path": ""}, "'path' is missing; add it"),
        ({"classes": 3}, "'classes' means nothing to this source; remove it"),
        ({"columns": {"text": "x"}}, "'columns' means nothing to this source; remove it"),
    ):
        with pytest.raises(UserError, match=fault):
            this.check(task(name, **changes))


@pytest.mark.parametrize("name", NAMES)
def test_classes_differ_and_are_as_many_as_the_labels(name: str) -> None:
    expected = {"ag_news": 4, "tiny_imagenet": 200, "cifar100": 100, "caltech256": 257, "fashion_mnist": 10}
    classes = source(name).classes(task(name))
    assert len(set(classes)) == len(classes) == expected.get(name, 0)
    if name in ("tiny_imagenet", "cifar100"):  # numbered in this order by the hub
        assert list(classes) == sorted(classes)
