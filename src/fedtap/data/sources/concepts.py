"""Concepts to text: write a sentence that holds the given content words (after CommonGen, Lin et al., 2020).

Sentences are those of the Rotten Tomatoes reviews with 4 to 14 words, ASCII only, that hold three to five distinct content
words: lower-case alphabetic words of at least four letters outside the list of function words below. The words are given in
alphabetical order, so that their order does not give the sentence away.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fedtap.data.example import Example, distinct, text_key
from fedtap.data.sources.base import Source, Supports
from fedtap.data.sources.reviews import ROTTEN_TOMATOES, reviews
from fedtap.data.sources.sentiment import SENTIMENT
from fedtap.scenario.scenario import TaskSettings

PROMPT = "make a sentence: {concepts}"
_WORDS = range(4, 15)
_CONCEPTS = range(3, 6)
_LETTERS = 4
_FUNCTION_WORDS = """
about above after again against almost along already also although always among another anyone anything around away because
been before behind being below between both cannot could does doing done down during each either else enough even ever every
everyone everything from have having here hers herself himself however into itself just least less like made make makes many
maybe mere merely might more most much must myself neither never nobody none nothing often once only onto other others
ourselves over perhaps quite rather really same seem seems shall should since some someone something sometimes still such than
that their theirs them themselves then there these they this those though through together too toward towards under unless
until upon very were what whatever when where whether which while whom whose will with within without would your yours yourself
"""
_IGNORED = frozenset(_FUNCTION_WORDS.split())


class Concepts(Source):
    """Text generation: the sentence from its content words."""

    name = "concepts"
    title = "Short sentences of the Rotten Tomatoes reviews (Pang and Lee, 2005), from their content words"
    licence = SENTIMENT.licence
    hub = SENTIMENT.hub
    supports: Supports = frozenset({("text_generation", "text")})

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return no classes."""
        return ()

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example a sentence; its key is the sentence's, which the source ``sentiment`` may hold too."""
        return _sentences()


def concepts(sentence: str) -> tuple[str, ...]:
    """Return the content words of a sentence, distinct and in alphabetical order.

    >>> concepts("offers that rare combination of entertainment and education .")
    ('combination', 'education', 'entertainment', 'offers', 'rare')
    """
    words = {word for word in sentence.lower().split() if word.isalpha() and len(word) >= _LETTERS}
    return tuple(sorted(words - _IGNORED))


@cache
def _sentences() -> tuple[Example, ...]:
    found: list[Example] = []
    for sentence, _ in reviews(ROTTEN_TOMATOES):
        words = sum(any(letter.isalnum() for letter in word) for word in sentence.split())
        if not sentence.isascii() or words not in _WORDS:
            continue
        given = concepts(sentence)
        if len(given) in _CONCEPTS:
            text = PROMPT.format(concepts=", ".join(given))
            found.append(Example(text_key(sentence), None, text, sentence))
    return distinct(found)
