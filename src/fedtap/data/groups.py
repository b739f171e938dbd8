"""Which split a group belongs to: all pictures of one patient, all texts of one author. Decided by the group's name alone.

The same name is therefore on one side in every task and at every client. Groups that share a content are one. Only where a pool
would have no example in a split at all is a group moved there, the one whose place is nearest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedtap.data.example import Example, Published
from fedtap.data.splits import SPLITS, Split, stricter, unit

Shares = tuple[float, float, float]
_PUBLISHED: Mapping[Split, Published] = {"train": "own_train", "validation": "own_validation", "test": "test"}
_SPLIT: Mapping[Published, Split] = {"own_train": "train", "own_validation": "validation", "test": "test"}


class Joined:
    """Names that are joined one by one (union and find); the first in alphabetical order stands for all of its set."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the name that stands for a name's set."""
        path = []
        while (above := self._above.setdefault(name, name)) != name:
            path.append(name)
            name = above
        for each in path:
            self._above[each] = name
        return name

    def join(self, one: str, other: str) -> None:
        """Make one set of those of two names."""
        first, second = sorted((self.of(one), self.of(other)))
        self._above[second] = first


def merged(examples: Iterable[Example]) -> list[Example]:
    """Return the examples with groups that share a content under one name: the first of theirs, in alphabetical order."""
    examples = list(examples)
    joined = Joined()
    first: dict[str, str] = {}
    for example in examples:
        if example.group is not None:
            joined.join(example.group, first.setdefault(example.key, example.group))
    return [
        example if example.group is None else replace(example, group=joined.of(example.group)) for example in examples
    ]


@dataclass(slots=True)
class _Unit:
    """What goes to one split as a whole: a group, with all that it shares contents with."""

    name: str
    keys: set[str] = field(default_factory=set)
    fixed: Published | None = None
    place: float = 0.0
    split: Split = "train"

    def settle(self, shares: Shares) -> None:
        """Give the unit its split: the one that is fixed, or the one of its name."""
        train, validation, _ = shares
        self.place = unit(f"group:{self.name}") * (train + validation if self.fixed == "train" else 1.0)
        if self.fixed is not None and self.fixed in _SPLIT:
            self.split = _SPLIT[self.fixed]
        else:
            bounds = {"train": train, "validation": train + validation}
            self.split = next((split for split in SPLITS[:2] if self.place < bounds[split]), "test")
            if self.fixed == "train" and self.split == "test":
                self.split = "validation"

    def may_go_to(self, split: Split) -> bool:
        """Tell whether the unit is free to be in a split."""
        return self.fixed is None or (self.fixed == "train" and split != "test")


def group_splits(
    pools: Sequence[Sequence[Example]], shares: Shares, published: Mapping[str, Published]
) -> dict[str, Published]:
    """Return, for each key that a group decides about, its split.

    Parameters
    ----------
    pools
        The examples of each pool of a scenario, in an order that does not depend on how clients are listed.
    shares
        Of train, validation and test.
    published
        Splits that are fixed already; a group is in the strictest of those of its contents.
    """
    grouped = [example for pool in pools for example in pool if example.group is not None]
    if not grouped:
        return {}
    joined = Joined()
    first: dict[str, str] = {}
    for example in grouped:
        joined.join(str(example.group), first.setdefault(example.key, str(example.group)))
    units: dict[str, _Unit] = {}
    of_key: dict[str, _Unit] = {}
    for key, group in first.items():
        name = joined.of(group)
        of_key[key] = units.setdefault(name, _Unit(name))
        of_key[key].keys.add(key)
        if key in published:
            of_key[key].fixed = stricter(published[key], of_key[key].fixed)
    for each in units.values():
        each.settle(shares)
    _fill_empty([{of_key[e.key].name for e in pool if e.key in of_key} for pool in pools], pools, units, of_key, shares)
    return {key: _PUBLISHED[found.split] for key, found in of_key.items()}


def _fill_empty(
    members: Sequence[set[str]],
    pools: Sequence[Sequence[Example]],
    units: Mapping[str, _Unit],
    of_key: Mapping[str, _Unit],
    shares: Shares,
) -> None:
    """Move a group into each split of which a pool of groups has nothing, where that leaves no other split without."""
    train, validation, _ = shares
    spans = {"train": (0.0, train), "validation": (train, train + validation), "test": (train + validation, 1.0)}
    pools_of: dict[str, list[int]] = defaultdict(list)
    for index, names in enumerate(members):
        for name in names:
            pools_of[name].append(index)
    for names, pool in zip(members, pools, strict=True):
        if not names or any(example.key not in of_key for example in pool):
            continue  # what is in no group goes by its content, and there is more of it
        for split in SPLITS:
            low, high = spans[split]
            if any(units[name].split == split for name in names):
                continue
            free = [units[name] for name in sorted(names) if units[name].may_go_to(split)]
            free = [
                each
                for each in free
                if all(sum(units[other].split == each.split for other in members[at]) > 1 for at in pools_of[each.name])
            ]
            if free:
                nearest = min(free, key=lambda each: (max(low - each.place, each.place - high, 0.0), each.name))
                nearest.split = split
