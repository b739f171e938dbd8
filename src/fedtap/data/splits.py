"""Which split an example belongs to. Decided by its content alone: not by a seed, a client, a task or an order.

Equal content can therefore never be trained on by one client and tested on by another. A run's seed moves examples between
clients, never between splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from fedtap.data.example import Example, Published
from fedtap.runtime.storage import digest

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_NONE: Mapping[str, Published] = {}
_STRICTNESS: tuple[Published, ...] = get_args(Published)
_AS_GIVEN: Mapping[str | None, Split] = {"own_train": "train", "own_validation": "validation", "test": "test"}


def unit(key: str) -> float:
    """Return a number in [0, 1), uniform over keys and fixed for each.

    >>> 0 <= unit("a") < 1 and unit("a") == unit("a") != unit("b")
    True
    """
    return int(digest("split", key)[:13], 16) / 16**13


def published_splits(examples: Iterable[Example]) -> dict[str, Published]:
    """Return, for the keys that some source puts into a split, that split; a key that is put into two is in the stricter.

    Test is stricter than validation, and that than training data.
    """
    found: dict[str, Published] = {}
    for example in examples:
        if example.split is not None:
            found[example.key] = stricter(example.split, found.get(example.key))
    return found


def stricter(one: Published, other: Published | None) -> Published:
    """Return the stricter of two splits: what is in both must not be trained on.

    >>> stricter("own_train", "test"), stricter("own_validation", "train"), stricter("train", None)
    ('test', 'own_validation', 'train')
    """
    return one if other is None or _STRICTNESS.index(one) >= _STRICTNESS.index(other) else other


def assign(example: Example, shares: tuple[float, float, float], published: Mapping[str, Published] = _NONE) -> Split:
    """Return the split of an example.

    What is published as test stays test, and what its owner has put into a split stays there; what is published as training data
    is divided between train and validation in the proportion of their shares; everything else follows the three shares.

    Parameters
    ----------
    example
        The example.
    shares
        Of train, validation and test; they sum to 1.
    published
        Published splits by key, as found over all sources of a scenario (:func:`published_splits`); the example's own where
        it has no entry. With it, a picture that one source publishes as test is test in every other source too.
    """
    train, validation, _ = shares
    fixed = published.get(example.key, example.split)
    if fixed in _AS_GIVEN:
        return _AS_GIVEN[fixed]
    place = unit(example.key) * (train + validation if fixed == "train" else 1.0)
    if place < train:
        return "train"
    return "validation" if fixed == "train" or place < train + validation else "test"


def check_disjoint(placed: Iterable[tuple[str, Split, Iterable[Example]]]) -> None:
    """Check that no content is in two splits.

    Parameters
    ----------
    placed
        For each holder (named for the message) and split, its examples.

    Raises
    ------
    ValueError
        If a key is in two splits: a fault of the program, not of the user.
    """
    seen: dict[str, tuple[str, Split]] = {}
    for holder, split, examples in placed:
        for example in examples:
            first = seen.setdefault(example.key, (holder, split))
            if first[1] != split:
                raise ValueError(
                    f"the content {example.key} is {first[1]} for {first[0]} and {split} for {holder}; splits must be disjoint"
                )
