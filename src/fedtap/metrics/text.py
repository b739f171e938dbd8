"""Token cross-entropy, perplexity, exact match, chrF and ROUGE-L of generated text, and what else is asked for beside them.

ROUGE-L comes from torchmetrics, which structural similarity needs anyway (Apache-2.0, maintained, typed), and not from
rouge-score, which had its last release in 2022 and would add nltk, absl-py and six; the tests hold the two against each other.
chrF comes from sacrebleu (Apache-2.0, maintained), the implementation that published figures go by.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol, TypeAlias

from torch import Tensor

from fedtap.metrics.table import Values

_NO_WORD = re.compile(r"[\W_]+")
_LARGEST_EXPONENT = math.log(sys.float_info.max)


Reference: TypeAlias = str | Sequence[str]
"""A right text, or several of which any is right; the first is the one whose likelihood is measured."""


def each_of(reference: Reference) -> tuple[str, ...]:
    """Return all right texts.

    >>> each_of("red"), each_of(["red", "crimson"])
    (('red',), ('red', 'crimson'))
    """
    return (reference,) if isinstance(reference, str) else tuple(reference)


def is_right(prediction: str, reference: Reference) -> bool:
    """Tell whether a text equals one of the right ones after :func:`normalise_answer`.

    >>> is_right("Crimson.", ["red", "crimson"]), is_right("blue", "red")
    (True, False)
    """
    return normalise_answer(prediction) in map(normalise_answer, each_of(reference))


class TextMetric(Protocol):
    """A metric of generated texts that a scenario may ask for beside the usual ones (``evaluation.text_metrics``)."""

    @property
    def name(self) -> str:
        """What it is called in results: its name says everything on which its value depends."""

    def __call__(self, predictions: Sequence[str], references: Sequence[Reference]) -> float:
        """Return its mean over examples, of which there is at least one; more is better.

        Of several references of an example the one counts that gives it most.
        """


class TextScores:
    r"""Accumulate ``cross_entropy`` (nats per token), ``perplexity``, ``exact_match``, ``chrf`` (0 to 100) and ``rouge_l``.

    - ``cross_entropy``: :math:`\sum nll / \sum tokens` under teacher forcing, padding left out; its n counts tokens.
    - ``perplexity``: its exponential (:func:`token_values`).
    - ``exact_match``: the share of examples whose prediction equals a reference after :func:`normalise_answer`.
    - ``chrf``: corpus chrF of sacrebleu with its defaults (character 6-grams, beta 2), with the nearest of several references.
    - ``rouge_l``: F1 of the longest common subsequence of words, with the nearest of several references, mean over examples; 0
      where either text has no word.

    Parameters
    ----------
    extra
        Further metrics, reported under their own names.

    Examples
    --------
    >>> import torch
    >>> scores = TextScores()
    >>> scores.update(torch.tensor([1.0, 5.0]), torch.tensor([1, 2]), ["Yes.", "blue"], ["yes", "red"])
    >>> scores.value()["cross_entropy"], scores.value()["exact_match"]
    ((2.0, 3), (0.5, 2))
    """

    def __init__(self, extra: Sequence[TextMetric] = ()) -> None:
        self._extra = tuple(extra)
        self._nats = 0.0
        self._tokens = 0
        self._losses: list[float] = []
        self._predictions: list[str] = []
        self._references: list[Reference] = []

    def update(self, nll: Tensor, tokens: Tensor, predictions: Sequence[str], references: Sequence[Reference]) -> None:
        """Add a batch.

        Parameters
        ----------
        nll
            ``(n,)`` floating point, the negative log-likelihood of each first reference, summed over its tokens, in nats.
        tokens
            ``(n,)`` integer, the number of tokens that were summed; padding is none.
        predictions
            n generated texts, cut at the end token.
        references
            n right texts, or several for an example.

        Raises
        ------
        ValueError
            If the four do not have the same length.
        """
        sizes = (nll.numel(), tokens.numel(), len(predictions), len(references))
        if nll.ndim != 1 or tokens.ndim != 1 or len(set(sizes)) != 1:
            raise ValueError(
                f"nll {tuple(nll.shape)}, tokens {tuple(tokens.shape)}, {len(predictions)} predictions and "
                f"{len(references)} references: expected (n,), (n,), n and n"
            )
        losses = nll.detach().cpu().double()
        self._losses += losses.tolist()
        self._nats += float(losses.sum())
        self._tokens += int(tokens.detach().cpu().sum())
        self._predictions += predictions
        self._references += references

    def outcomes(self, metric: str) -> list[float]:
        """Return, in the order in which they came, each example's outcome.

        For ``exact_match`` 1 or 0, for ``cross_entropy`` the nats of the whole reference: of all models it has as many tokens, so
        that a difference of sums is one of means.
        """
        if metric == "cross_entropy":
            return self._losses
        if metric == "exact_match":
            return self._matches()
        raise KeyError(metric)

    def value(self) -> Values:
        """Return the metrics over all examples given so far.

        Raises
        ------
        ValueError
            If there was no token.
        """
        n = len(self._references)
        if self._tokens == 0:
            raise ValueError("no token to score; call update() with at least one before value()")
        matches = int(sum(self._matches()))
        return {
            **token_values(self._nats / self._tokens, self._tokens),
            "exact_match": (matches / n, n),
            "chrf": (_chrf(self._predictions, self._references), n),
            "rouge_l": (_rouge_l(self._predictions, self._references), n),
            **{metric.name: (metric(self._predictions, self._references), n) for metric in self._extra},
        }

    def _matches(self) -> list[float]:
        return [
            float(is_right(prediction, reference))
            for prediction, reference in zip(self._predictions, self._references, strict=True)
        ]


def token_values(cross_entropy: float, tokens: int) -> Values:
    """Return ``cross_entropy``, in nats per token, and its exponential ``perplexity``, both over so many tokens.

    A model worse than some 709 nats per token has a perplexity beyond the largest floating-point number. It is left out then:
    any number in its place would be made up, and the cross-entropy says the same.

    >>> token_values(0.0, 3)
    {'cross_entropy': (0.0, 3), 'perplexity': (1.0, 3)}
    >>> token_values(1000.0, 3)
    {'cross_entropy': (1000.0, 3)}
    """
    values: Values = {"cross_entropy": (cross_entropy, tokens)}
    if cross_entropy <= _LARGEST_EXPONENT:
        values["perplexity"] = (math.exp(cross_entropy), tokens)
    return values


def normalise_answer(text: str) -> str:
    """Return the text in lower case, without punctuation and surplus space.

    Punctuation becomes a space instead of vanishing, so that ``don't`` and the ``don ' t`` of a WordPiece decoder are one
    answer. Symbols such as ``+`` are content and stay, and so does a text that consists of punctuation alone.

    >>> normalise_answer("  It's  RED! ") == normalise_answer("it ' s red")
    True
    >>> normalise_answer("C++") == normalise_answer("c")
    False
    """
    lower = unicodedata.normalize("NFKC", text).lower()
    spaced = "".join(_spaced(character) for character in lower)
    return " ".join(spaced.split()) or "".join(lower.split())


def _spaced(character: str) -> str:
    """Return a space for a punctuation mark, a symbol set apart, and any other character as it is."""
    kind = unicodedata.category(character)[0]
    return " " if kind == "P" else f" {character} " if kind == "S" else character


def _chrf(predictions: Sequence[str], references: Sequence[Reference]) -> float:
    from sacrebleu.metrics.chrf import CHRF

    # sacrebleu takes the first references of all examples, then the second ones, and None where there are fewer
    streams = list(zip_longest(*map(each_of, references)))
    return float(CHRF().corpus_score(predictions, streams).score)


def _rouge_l(predictions: Sequence[str], references: Sequence[Reference]) -> float:
    # imported here because it takes longer than all of fedtap, and only an evaluation of text needs it
    from torchmetrics.functional.text.rouge import rouge_score

    right = [list(each_of(reference)) for reference in references]
    scores = rouge_score(list(predictions), right, accumulate="best", rouge_keys="rougeL", normalizer=plain_words)
    return float(scores["rougeL_fmeasure"])


def plain_words(text: str) -> str:
    """Return the words of a text in lower case, a space between them: runs of letters and digits.

    ROUGE's own rule on ASCII, and unlike it not blind to other scripts.

    >>> plain_words("Don't -- it's 2 PM!")
    'don t it s 2 pm '
    """
    return _NO_WORD.sub(" ", text.lower())
