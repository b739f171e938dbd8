"""What the columns of a table hold, counted in one pass over its rows. Not here: what they are taken for (roles)."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtap.data.sources.base import composed
from fedtap.data.sources.folder import SUFFIXES
from fedtap.data.sources.tables import Row
from fedtap.runtime.errors import UserError
from fedtap.scenario.files import split_word

MOST_VALUES = 1_000
"""So many different values of a column are kept; with more of them it is no class, whatever it is called."""
FEW_VALUES, FEW_WORDS = 50, 4
EMBEDDED = "<picture>"
"""What stands in a row for a picture that is within it."""
SEPARATORS, SHORT, SEVERAL = (";", "|"), 200, 0.2
"""What may stand between labels in a cell, how long such a cell is, and in what share of the cells there is one at the least."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    ``filled`` are the rows in which it holds something, ``different`` how many different values it has there, ``values`` how
    often each of them (empty where there are too many). ``texts`` says whether all are text, ``words`` is how many words nine
    of ten have at the most; ``numbers``, ``pictures`` and ``splits`` are how many look like a number, the file of a picture,
    the name of a split; ``found`` how many of those files are there. ``lists`` are the rows in which it holds a list of texts;
    ``separator`` is what stands between several short texts in many of its cells; ``items`` is in how many rows each of these
    texts is, of lists or between separators (empty where there are too many). ``low`` and ``high`` are the least and the greatest
    of its numbers.
    """

    name: str
    filled: int
    different: int
    values: Counter[str]
    texts: bool
    words: int
    numbers: int
    pictures: int
    found: int
    splits: int
    lists: int = 0
    separator: str | None = None
    items: Counter[str] = field(default_factory=Counter)
    low: float = math.inf
    high: float = -math.inf

    @property
    def is_labels(self) -> bool:
        """Whether a row names several of a few short texts that repeat, as labels do."""
        return (self.is_list or self.separator is not None) and _are_labels(self.items)

    @property
    def is_list(self) -> bool:
        """Whether it holds lists of texts."""
        return self.filled > 0 and self.lists == self.filled

    @property
    def is_picture(self) -> bool:
        """Whether it names pictures."""
        return self.filled > 0 and self.pictures >= 0.9 * self.filled

    @property
    def is_split(self) -> bool:
        """Whether it says for each row which split it is in: train and test at least."""
        named = {split_word(value) for value in self.values}
        return self.splits == self.filled > 0 and {"train", "test"} <= named

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.filled > 0 and self.numbers == self.filled

    @property
    def repeats(self) -> bool:
        """Whether its values are there more than once: twice each, on average."""
        return 2 <= self.different <= self.filled / 2

    @property
    def is_few(self) -> bool:
        """Whether it holds a few short values that repeat, as classes do."""
        return bool(self.values) and self.repeats and self.different <= FEW_VALUES and self.words <= FEW_WORDS

    @property
    def is_text(self) -> bool:
        """Whether it holds text that could be given to a model, and not numbers, or files of pictures."""
        return self.filled > 0 and self.texts and not self.is_number and not self.is_picture

    def classes(self) -> tuple[str, ...]:
        """Return its values as names of classes, numbers by their size."""
        return tuple(sorted(self.values, key=natural))


def natural(name: str) -> tuple[int, float, str]:
    """Return a key that sorts whole numbers by size and before names.

    >>> sorted(["10", "b", "9", "A"], key=natural)
    ['9', '10', 'A', 'b']
    """
    whole = re.fullmatch(r"-?\d{1,15}", name)
    return (0, float(name), name) if whole else (1, 0.0, f"{name.casefold()}\0{name}")


def look_at_columns(
    rows: Iterable[tuple[int, Row]], folder: Path, *, there: bool = False
) -> tuple[Sequence[Column], int, int]:
    """Return the columns in their order, how many rows there are, and how many of these cannot be read.

    ``folder`` is where the files of pictures start; ``there`` says that pictures are within the rows themselves.
    """
    counts: dict[str, _Counts] = {}
    number = broken = 0
    for _, row in rows:
        number += 1
        if isinstance(row, UserError):
            broken += 1
            continue
        for name, value in row.items():
            if name not in counts:
                counts[name] = _Counts(folder, there)
            counts[name].add(value)
    return [each.column(name) for name, each in counts.items()], number, broken


def _are_labels(items: Counter[str]) -> bool:
    """Tell whether texts are few, short, and there twice each on average."""
    short = all(len(item.split()) <= FEW_WORDS for item in items)
    return short and 2 <= len(items) <= min(FEW_VALUES, items.total() / 2)


class _Counts:
    """The counts of a column while its table is read."""

    def __init__(self, folder: Path, there: bool) -> None:
        self._folder = folder
        self._there = there
        self._values: Counter[str] = Counter()
        self._different: set[int] = set()
        self._words: Counter[int] = Counter()
        self._texts = True
        self._lists = 0
        self._low, self._high = math.inf, -math.inf
        self._items: Counter[str] = Counter()
        self._pieces: dict[str, Counter[str]] = {separator: Counter() for separator in SEPARATORS}
        self._cut: Counter[str] = Counter()
        self._filled = self._numbers = self._pictures = self._found = self._splits = 0

    def add(self, value: Any) -> None:
        """Count a value, of a table's text or a JSON object's."""
        text = composed(value.strip()) if isinstance(value, str) else json.dumps(value)
        if value is None or value == [] or not text:
            return
        self._filled += 1
        self._texts &= isinstance(value, str)
        self._different.add(hash(text))
        if len(self._values) <= MOST_VALUES:
            self._values[text] += 1
        listed = value if isinstance(value, list) and all(isinstance(each, str) for each in value) else ()
        if listed:
            self._lists += 1
            if len(self._items) <= MOST_VALUES:
                self._items.update({composed(each.strip()) for each in listed})
        elif isinstance(value, str) and len(text) <= SHORT:
            self._count_pieces(text)
        self._words[max(len(each.split()) for each in listed or (text,))] += 1
        if not isinstance(value, bool) and _NUMBER.fullmatch(text) is not None:
            self._numbers += 1
            if math.isfinite(float(text)):
                self._low, self._high = min(self._low, float(text)), max(self._high, float(text))
        self._splits += split_word(text) is not None
        if isinstance(value, str) and (text == EMBEDDED or Path(text).suffix.lower() in SUFFIXES):
            self._pictures += 1
            self._found += self._there or self._is_there(text)

    def _count_pieces(self, text: str) -> None:
        for separator, pieces in self._pieces.items():
            self._cut[separator] += separator in text
            if len(pieces) <= MOST_VALUES:
                pieces.update({piece.strip() for piece in text.split(separator)} - {""})

    def _is_there(self, text: str) -> bool:
        try:
            return (self._folder / text).is_file()
        except (OSError, ValueError):  # a name that is too long, or holds a zero byte
            return False

    def column(self, name: str) -> Column:
        """Return what was counted."""
        often = max(SEPARATORS, key=self._cut.__getitem__)
        cut = not self._lists and self._cut[often] >= SEVERAL * self._filled and _are_labels(self._pieces[often])
        separator = often if cut else None
        items = self._items if separator is None else self._pieces[separator]
        return Column(
            name=name,
            filled=self._filled,
            different=len(self._different),
            values=self._values if len(self._values) <= MOST_VALUES else Counter(),
            texts=self._texts,
            words=nine_of_ten(self._words),
            numbers=self._numbers,
            pictures=self._pictures,
            found=self._found,
            splits=self._splits,
            lists=self._lists,
            separator=separator,
            low=self._low,
            high=self._high,
            items=items if len(items) <= MOST_VALUES else Counter(),
        )


def ends_of(low: float, high: float) -> tuple[float, float]:
    """Return two round numbers between which these lie, in steps of a tenth of what is between them, or less.

    >>> ends_of(18.3, 93.0), ends_of(0.012, 0.4), ends_of(5.0, 5.0)
    ((15.0, 95.0), (0.0, 0.4), (4.0, 6.0))
    """
    if low == high:
        return low - 1, high + 1
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(each for each in (step / 2, step / 5, step / 10) if (high - low) / each >= 10)
    return round(math.floor(low / step) * step, 12), round(math.ceil(high / step) * step, 12)


def nine_of_ten(lengths: Counter[int]) -> int:
    """Return the least length that nine of ten do not exceed.

    >>> nine_of_ten(Counter({3: 9, 100: 1}))
    3
    """
    left = 0.9 * lengths.total()
    for length in sorted(lengths):
        left -= lengths[length]
        if left <= 0:
            return length
    return 0
