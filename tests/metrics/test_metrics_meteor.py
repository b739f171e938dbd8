"""METEOR by hand, against published values, against nltk up to the stems, and with a WordNet small enough to be written here."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.meteor_score import single_meteor_score

from fedtap.metrics import meteor
from fedtap.metrics.meteor import Meteor, wordnet, wordnet_place
from fedtap.runtime.errors import UserError
from tiny_wordnet import write_wordnet

EXACT_STEM = Meteor(None)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the only folder in which nltk finds anything."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    meteor._read.cache_clear()
    yield tmp_path
    meteor._read.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # nltk's reader leaves its files open until it is forgotten
        gc.collect()


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        # nltk's documentation of meteor_score, and its meteor.doctest, four of whose examples are Wikipedia's
        (
            "It is a guide to action which ensures that the military always obeys the commands of the party",
            "It is a guide to action that ensures that the military will forever heed Party commands",
            0.6944,
        ),
        ("non matching hypothesis", "this is a cat", 0.0),
        ("John loves Mary", "The candidate has no alignment to any of the references", 0.0),
        ("The cat sat on the mat", "The cat sat on the mat", 0.9977),
        ("on the mat sat the cat", "The cat sat on the mat", 0.5),
        ("The cat was sat on the mat", "The cat sat on the mat", 0.9654),
        ("creates or updates a virtual machine scale set", "create or update a vm set", 0.7806),
    ],
)
def test_published_values(prediction: str, reference: str, expected: float) -> None:
    assert EXACT_STEM([prediction], [reference]) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("prediction", "reference", "words", "matches", "chunks"),
    [
        ("red", "red", (1, 1), 1, 1),
        ("Two dogs, running.", "two dog ran", (3, 3), 2, 1),  # dogs and dog by their stem; ran is no stem of running
        ("the dogs bark and the cat sleeps", "the cat sleeps", (7, 3), 3, 1),
        ("a small blue house", "blue house, small", (4, 3), 3, 2),
        ("dogs cats", "cat dog", (2, 2), 2, 2),
        ("yes", "no", (1, 1), 0, 0),
        ("", "no", (0, 1), 0, 0),
        ("...", "...", (0, 0), 0, 0),  # no word
    ],
)
def test_by_hand(prediction: str, reference: str, words: tuple[int, int], matches: int, chunks: int) -> None:
    expected = 0.0
    if matches:
        p, r = matches / words[0], matches / words[1]
        expected = (1 - 0.5 * (chunks / matches) ** 3) * p * r / (0.9 * p + 0.1 * r)
    assert EXACT_STEM([prediction], [reference]) == pytest.approx(expected)


def test_it_is_the_mean_over_examples() -> None:
    # 1 - 0.5 for a single word that is right; 0 for one that is not
    assert EXACT_STEM(["red", "red", "cat", "cat"], ["red", "blue", "cats", "dog"]) == pytest.approx(0.25)


def test_recall_weighs_nine_times_precision() -> None:
    # one chunk of four, so the penalty is 0.5 / 64; P = 1 and R = 1/2, then the other way round
    short = EXACT_STEM(["one two three four"], ["one two three four five six seven eight"])
    long = EXACT_STEM(["one two three four five six seven eight"], ["one two three four"])
    assert short == pytest.approx((1 - 0.5 / 64) * 10 * 1 * 0.5 / (0.5 + 9 * 1))
    assert long == pytest.approx((1 - 0.5 / 64) * 10 * 0.5 * 1 / (1 + 9 * 0.5))


WORD = st.sampled_from(["the", "a", "cat", "cats", "play", "played", "playing", "red", "house", "houses"])


@settings(max_examples=200)
@given(st.lists(WORD, max_size=9), st.lists(WORD, max_size=9))
def test_up_to_the_stems_it_is_that_of_nltk(prediction: list[str], reference: list[str]) -> None:
    class Empty:
        def synsets(self, word: str) -> list[None]:
            return []

    expected = single_meteor_score(reference, prediction, wordnet=Empty())
    assert EXACT_STEM([" ".join(prediction)], [" ".join(reference)]) == pytest.approx(expected)


class TestWithWordNet:
    @pytest.fixture
    def metric(self, data: Path) -> Meteor:
        write_wordnet(data / "corpora" / "wordnet", [["film", "movie"], ["big", "large"], ["large", "great"], ["bar"]])
        found = wordnet()
        assert found is wordnet()
        return Meteor(found)

    def test_its_name_tells_of_the_synonyms(self, metric: Meteor) -> None:
        assert (metric.name, EXACT_STEM.name) == ("meteor", "meteor-exact-stem")

    def test_synonyms_by_hand(self, metric: Meteor) -> None:
        # all but the last word, in one chunk: P = R = 3/4
        assert metric(["the film is good"], ["the movie is bad"]) == pytest.approx((1 - 0.5 / 27) * 0.75)
        # the reference's words in other forms are known to WordNet as well
        assert metric(["big movie"], ["large films"]) == pytest.approx(1 - 0.5 / 8)

    def test_synonyms_are_words_with_a_meaning_in_common(self, metric: Meteor) -> None:
        assert metric(["big"], ["great"]) == 0  # each is a synonym of "large", in another meaning
        assert metric(["bar"], ["pub"]) == 0

    def test_an_earlier_stage_goes_first(self, metric: Meteor) -> None:
        # "movie" is left for its like; by synonyms alone "film" would have taken the last
        assert metric(["movie film"], ["film movie"]) == pytest.approx(0.5)
        assert metric(["film movie"], ["film movie"]) == pytest.approx(1 - 0.5 / 8)

    def test_an_archive_does_as_well(self, data: Path) -> None:
        write_wordnet(data / "wordnet", [["film", "movie"]])
        (data / "corpora").mkdir()
        shutil.make_archive(str(data / "corpora" / "wordnet"), "zip", data, "wordnet")
        shutil.rmtree(data / "wordnet")
        assert Meteor(wordnet())(["film"], ["movie"]) == pytest.approx(0.5)

    def test_a_damaged_one_is_told_in_one_line(self, data: Path) -> None:
        write_wordnet(data / "corpora" / "wordnet", [["film", "movie"]])
        (data / "corpora" / "wordnet" / "index.noun").unlink()
        with pytest.raises(
            UserError, match=r"WordNet cannot be read \(.*index\.noun.*nltk\.downloader wordnet"
        ) as told:
            wordnet()
        assert "\n" not in str(told.value)


def test_without_wordnet_there_is_none_and_nothing_is_fetched(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*anything: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert wordnet_place() is None
    assert wordnet() is None


@pytest.mark.parametrize("ask", [lambda: Meteor(None), wordnet, wordnet_place])
def test_without_nltk_the_command_that_gets_it_is_told(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meteor, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(UserError, match=r"needs the package.*pip install .*\[text\]"):
        ask()
