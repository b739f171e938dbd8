"""METEOR of generated text: words matched by form, by stem and, where WordNet is on the machine, by synonym.

Banerjee and Lavie, "METEOR: An Automatic Metric for MT Evaluation with Improved Correlation with Human Judgments", 2005.

Stems and WordNet come from nltk (Apache-2.0, 14 MB, several releases a year), which is optional. Its own METEOR is not called: it
hands the stage of synonyms the stems that are left over ("movi"), of which WordNet knows few. Up to the stems the two agree,
which the tests hold them to. Nothing here uses the network: WordNet is found on the machine or left out, and then the metric has
another name.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from fedtap.metrics.text import Reference, each_of, plain_words
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install

WITH_SYNONYMS, WITHOUT_SYNONYMS = "meteor", "meteor-exact-stem"
PACKAGE = "nltk"
GET_WORDNET = "python -m nltk.downloader wordnet"
ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5

Stage = Callable[[str], frozenset[str]]
"""What a word is matched by: two words match where they have something of it in common."""


class Meteor:
    r"""The mean of sentence METEOR over examples, from 0 to 1.

    Words of the prediction are aligned with words of the reference (:func:`align`) in three stages: the same form, the same
    Porter stem, a meaning in WordNet that both can have. With m words aligned in c chunks (runs that are adjacent and in the
    same order in both), precision :math:`P = m / |prediction|` and recall :math:`R = m / |reference|`,

    .. math:: METEOR = \left(1 - \gamma (c / m)^\beta\right) \frac{P R}{\alpha P + (1 - \alpha) R},

    with alpha 0.9, beta 3, gamma 0.5; 0 where nothing is aligned. Words are runs of letters and digits, in lower case.

    Parameters
    ----------
    synonyms
        WordNet, as :func:`wordnet` returns it; None leaves its stage out.

    Raises
    ------
    UserError
        If nltk is not installed.

    Notes
    -----
    METEOR 1.5 (2014) has other parameters and weighs words and stages, so its figures cannot be compared with these.

    Examples
    --------
    >>> metric = Meteor(None)
    >>> metric.name, round(metric(["the cat was sat on the mat"], ["the cat sat on the mat"]), 4)
    ('meteor-exact-stem', 0.9654)
    """

    def __init__(self, synonyms: Any | None) -> None:
        _require()
        from nltk.stem.porter import PorterStemmer

        stemmer = PorterStemmer()

        @functools.lru_cache(maxsize=10_000)
        def stem(word: str) -> frozenset[str]:
            return frozenset([stemmer.stem(word)])

        @functools.lru_cache(maxsize=10_000)
        def meanings(word: str) -> frozenset[str]:
            assert synonyms is not None
            return frozenset(meaning.name() for meaning in synonyms.synsets(word))

        self.name = WITHOUT_SYNONYMS if synonyms is None else WITH_SYNONYMS
        self._stages: list[Stage] = [_form, stem, *([] if synonyms is None else [meanings])]

    def __call__(self, predictions: Sequence[str], references: Sequence[Reference]) -> float:
        """Return the mean over examples; of several references the best counts, as in nltk."""
        scores = [
            max(self._score(prediction, each) for each in each_of(reference))
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return math.fsum(scores) / len(scores)

    def _score(self, prediction: str, reference: str) -> float:
        said, right = plain_words(prediction).split(), plain_words(reference).split()
        pairs = align(said, right, self._stages)
        if not pairs:
            return 0.0
        precision, recall = len(pairs) / len(said), len(pairs) / len(right)
        harmonic = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        penalty: float = GAMMA * (_chunks(pairs) / len(pairs)) ** BETA
        return (1 - penalty) * harmonic


def align(prediction: Sequence[str], reference: Sequence[str], stages: Sequence[Stage]) -> list[tuple[int, int]]:
    """Return pairs of places in the two, in the prediction's order; every word is in one pair at most.

    A later stage sees the words that the earlier ones left. Where a word has a choice, the paper takes the alignment with the
    fewest crossings; here, as in nltk, words are taken from the last to the first, and each gets the last one that is free.

    >>> align("a b a".split(), "a c a b".split(), [lambda word: frozenset([word])])
    [(0, 0), (1, 3), (2, 2)]
    """
    pairs: dict[int, int] = {}
    for keys in stages:
        taken = set(pairs.values())
        free = [(place, keys(word)) for place, word in enumerate(reference) if place not in taken]
        for place in reversed(range(len(prediction))):
            if place in pairs or not free:
                continue
            own = keys(prediction[place])
            at = next((at for at in reversed(range(len(free))) if own & free[at][1]), None)
            if at is not None:
                pairs[place] = free.pop(at)[0]
    return sorted(pairs.items())


def _form(word: str) -> frozenset[str]:
    return frozenset([word])


def _chunks(pairs: Sequence[tuple[int, int]]) -> int:
    """Return the number of runs that are adjacent in both texts."""
    return 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in pairwise(pairs))


def wordnet_place() -> str | None:
    """Return where WordNet lies on this machine, or None; nltk looks in ``nltk_data`` folders and in those of ``NLTK_DATA``.

    Raises
    ------
    UserError
        If nltk is not installed.
    """
    found = _find()
    return None if found is None else str(found)


def wordnet() -> Any | None:
    """Return WordNet if it lies on this machine, read once per process, or None. Nothing is downloaded.

    Raises
    ------
    UserError
        If nltk is not installed, or WordNet is there and cannot be read.
    """
    found = _find()
    return None if found is None else _read(found)


def _find() -> Any | None:
    """Return nltk's pointer to WordNet, a folder or an archive."""
    _require()
    from nltk import data

    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            return data.find(name)
        except LookupError:
            continue
    return None


@functools.lru_cache(maxsize=1)
def _read(place: Any) -> Any:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that other languages are missing, which are not asked for
            return WordNetCorpusReader(place, None)
    except Exception as error:  # a damaged archive or file fails in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"{place}: WordNet cannot be read ({reason}); delete it and get it with: {GET_WORDNET}"
        ) from error


def _require() -> None:
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(
            f"evaluation.text_metrics: meteor needs the package '{PACKAGE}'; {install('text')}, or leave meteor out"
        )
