"""Results that a client sends of its own models are hostile until they have passed here, as its updates are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedtap.federation.words import MAX_NAME, ResultRow, fault
from fedtap.metrics import HIGHER_IS_BETTER, measures, possible, range_of
from fedtap.pairs import Pair

MAX_ROWS = 2_000
FIELDS = frozenset(ResultRow.model_fields)


def result_complaint(
    rows: Sequence[Any],
    client: str,
    pairs: Sequence[Pair],
    split: str,
    models: Collection[str],
    most: Mapping[str, int] | None = None,
) -> str | None:
    """Return in one line why the rows of a client must be refused, or None if they are sound.

    Parameters
    ----------
    rows
        As they came: any JSON values.
    client, pairs
        Who was asked, and its pairs.
    split
        The only split that it may have tested on: its own.
    models
        The names of all models that there may be rows of, baselines too.
    most
        By task, the most examples (for text: tokens) that a value can be a mean over, where that is known.
    """
    if not isinstance(rows, list | tuple) or len(rows) > MAX_ROWS:
        return f"the rows are no list of {MAX_ROWS} at the most"
    asked = {pair.task: pair for pair in pairs}
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        if not isinstance(row, dict) or row.keys() != FIELDS:
            return "a row does not have the fields that were agreed on"
        why = _form_complaint(row) or _row_complaint(row, client, asked, split, most or {})
        if why is not None:
            return why
        place = (row["task"], row["model"], row["metric"])
        if place in seen:
            return f"two rows for task '{row['task']}', model '{row['model']}', metric '{row['metric']}'"
        if row["model"] not in models:
            return f"a row of a model '{row['model']}', which the method does not have"
        seen.add(place)
    return None


def _form_complaint(row: Mapping[str, Any]) -> str | None:
    place = fault(ResultRow, row)
    if place is None:
        return None
    if place[0] == "value":
        return "the value of a row is no finite number"
    if place[0] == "n":
        return "a row is not over a sensible number of examples"
    if place[0] == "model" and isinstance(row["model"], str) and len(row["model"]) > MAX_NAME:
        return "the name of a model is too long"
    return f"the '{place[0]}' of a row is no plain name"


def _row_complaint(
    row: Mapping[str, Any], client: str, asked: Mapping[str, Pair], split: str, most: Mapping[str, int]
) -> str | None:
    task, metric, value = row["task"], row["metric"], row["value"]
    if row["client"] != client:
        return f"a row for client '{row['client']}'"
    if task not in asked:
        return f"a row for task '{task}', which the client does not have"
    pair = asked[task]
    if row["family"] != pair.family or row["split"] != split:
        return f"a row for task '{task}' is not of family '{pair.family}' and split '{split}'"
    if metric.partition("[")[0] not in HIGHER_IS_BETTER:
        return f"an unknown metric '{metric}'"
    if not measures(metric, pair.type):
        return f"the metric '{metric}' of task '{task}', which is {pair.type}"
    if value is not None and not possible(metric, value, pair.type):
        low, high = range_of(metric, pair.type)
        return f"the {metric} of task '{task}' is {value:g}; it is from {low:g} to {high:g}"
    if task in most and row["n"] > most[task]:
        return f"a row for task '{task}' over {row['n']} examples; there can be {most[task]}"
    return None
