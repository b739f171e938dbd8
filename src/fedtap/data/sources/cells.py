"""What the cells of a user's own tables hold, checked as they are read. Not here: which columns there are (tables, dataset)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from fedtap.data.sources.base import composed
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import TaskSettings
from fedtap.scenario.unit import scaled

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MOST = 1e100
FURTHEST = 1_000
"""How many times the half of its scale a number may be away from the middle of it."""


class SlipError(UserError):
    """A label that is no class, a split that is none, a picture of elsewhere: a slip in table or scenario, and no damage."""


def text_of(value: object, column: str, place: str) -> str:
    """Return the text that a cell holds, without the blanks around it; raises :class:`UserError` if it holds none."""
    if not isinstance(value, str):
        raise UserError(f"{place}: '{column}' is {json.dumps(value)}; it must be text in quotes")
    if not value.strip():
        raise UserError(f"{place}: '{column}' is empty; fill it, or remove the row")
    if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{place}: '{column}' holds half a character (a lone surrogate); mend the escape sequence")
    return value.strip()


def answers(
    first: tuple[str, object], beside: Sequence[tuple[str, object]], separator: str | None, place: str
) -> list[str]:
    """Return the right answers of a row, none twice, the one that is trained on first.

    Parameters
    ----------
    first
        The column of the target, and what it holds: a text, texts between which the separator stands, or a list of texts.
    beside
        Further columns with what they hold; one that is empty adds nothing.
    separator
        What stands between several texts of one cell; None: a cell is one text.
    place
        The row, for messages.

    Examples
    --------
    >>> answers(("target", "red; crimson"), [("other", ["red", "dark red"])], ";", "t.csv:2")
    ['red', 'crimson', 'dark red']
    """
    found: dict[str, None] = {}
    for column, value in (first, *beside):
        found |= dict.fromkeys(texts_of(value, column, separator, place, needed=column == first[0]))
    return list(found)


def texts_of(value: object, column: str, separator: str | None, place: str, *, needed: bool) -> list[str]:
    """Return the texts of a cell: a list's, those between separators, or the one that it is; of an empty one none.

    Raises
    ------
    UserError
        If one of them is no text, or there is none and it is ``needed``.
    """
    if isinstance(value, list | tuple) and value:
        return [text_of(each, column, place) for each in value]
    if isinstance(value, str) and separator is not None and separator in value:
        parts = [part for part in value.split(separator) if part.strip()]
        return [text_of(part, column, place) for part in parts or [""]]
    nothing = value is None or value in ([], ()) or (isinstance(value, str) and not value.strip())
    return [] if nothing and not needed else [text_of("" if value in ([], ()) else value, column, place)]


def name_of(value: object, column: str, place: str) -> str:
    """Return what names a group or a split: text, or a number as text."""
    return text_of(
        str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value, column, place
    )


def label_of(value: object, labels: Mapping[str, int], task: TaskSettings, place: str) -> int:
    """Return the class index of a label, given by name, or as a number where the classes are a number."""
    given = composed(value.strip()) if isinstance(value, str) else json.dumps(value)
    if value is None or not given:
        raise UserError(f"{place}: the label is empty; fill it, or remove the row")
    if given in labels:
        return labels[given]
    if isinstance(task.classes, int):
        last = task.classes - 1
        raise SlipError(f"{place}: label {given!r} is no whole number from 0 to {last}; mend it, or 'classes'")
    raise SlipError(f"{place}: unknown label '{given}' ({nearest(given, labels)}); mend it, or add it to 'classes'")


def labels_of(value: object, column: str, labels: Mapping[str, int], task: TaskSettings, place: str) -> tuple[int, ...]:
    """Return the indices of the labels that a cell names, in their order: a list's, or those between separators.

    An empty list, or an empty cell of a table, has none of them.
    """
    if value is None:
        raise UserError(f"{place}: '{column}' is null; write [] where no label holds, or remove the row")
    if isinstance(value, str):
        parts: Sequence[object] = value.split(task.separator) if task.separator else [value]
        parts = [part for part in parts if str(part).strip()]
    else:
        parts = value if isinstance(value, list | tuple) else [value]
    return tuple(sorted({label_of(part, labels, task, place) for part in parts}))


def number_of(value: object, column: str, task: TaskSettings, place: str) -> float:
    """Return the number that a cell holds, in the user's unit; it may lie beyond the task's scale, but not far beyond.

    Raises
    ------
    UserError
        If it is no number.
    SlipError
        If it is far beyond the scale: one of the two is a slip, and a single such number would outweigh all others.
    """
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < MOST else math.inf  # a whole number of JSON may have any length
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    if not math.isfinite(number):
        raise UserError(f"{place}: '{column}' is {json.dumps(value)}; it must be a number, as 3 or -0.5")
    if task.scale is not None and abs(scaled(number, task.scale)) > FURTHEST:
        low, high = task.scale
        raise SlipError(
            f"{place}: '{column}' is {number:g}, far beyond scale: [{low:g}, {high:g}]; mend it, or 'scale'"
        )
    return number
