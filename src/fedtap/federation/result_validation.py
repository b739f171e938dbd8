"""Results that a client sends of its own models are hostile until they have passed here, as its updates are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.pairs import Pair
from fedtap.tasks.metrics import HIGHER_IS_BETTER

MAX_ROWS = 2_000
MAX_NAME = 64
MAX_N = 10**12
FIELDS = frozenset({"client", "task", "family", "model", "split", "metric", "value", "n"})


def result_complaint(rows: Sequence[Any], client: str, pairs: Sequence[Pair], split: str) -> str | None:
    """Return in one line why the rows of a client must be refused, or None if they are sound.

    Parameters
    ----------
    rows
        As they came: any JSON values.
    client, pairs
        Who was asked, and its pairs.
    split
        The only split that it may have tested on: its own.
    """
    if not isinstance(rows, list | tuple) or len(rows) > MAX_ROWS:
        return f"the rows are no list of {MAX_ROWS} at the most"
    families = {pair.task: pair.family for pair in pairs}
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        if not isinstance(row, dict) or row.keys() != FIELDS:
            return "a row does not have the fields that were agreed on"
        why = _row_complaint(row, client, families, split)
        if why is not None:
            return why
        place = (row["task"], row["model"], row["metric"])
        if place in seen:
            return f"two rows for task '{row['task']}', model '{row['model']}', metric '{row['metric']}'"
        seen.add(place)
    return None


def _row_complaint(row: Mapping[str, Any], client: str, families: Mapping[str, str], split: str) -> str | None:
    for field in FIELDS - {"value", "n"}:
        text = row[field]
        if not isinstance(text, str) or not 0 < len(text) <= 2 * MAX_NAME or not text.isprintable():
            return f"the '{field}' of a row is no plain name"
    task = row["task"]
    if row["client"] != client:
        return f"a row for client '{row['client']}'"
    if task not in families:
        return f"a row for task '{task}', which the client does not have"
    if row["family"] != families[task] or row["split"] != split:
        return f"a row for task '{task}' is not of family '{families[task]}' and split '{split}'"
    if row["metric"].partition("[")[0] not in HIGHER_IS_BETTER:
        return f"an unknown metric '{row['metric']}'"
    if len(row["model"]) > MAX_NAME:
        return "the name of a model is too long"
    value, n = row["value"], row["n"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        return f"the {row['metric']} of task '{task}' is no finite number"
    if isinstance(n, bool) or not isinstance(n, int) or not 0 < n <= MAX_N:
        return f"a row for task '{task}' is not over a sensible number of examples"
    return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
