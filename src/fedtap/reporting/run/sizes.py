"""How many examples each client's task asked for, and how many it got. Not here: why it got fewer (remarks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import plural
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.tables import Cell, collapsed, table
from fedtap.reporting.run.record import RunRecord
from fedtap.scenario.clients import OWN_SOURCES
from fedtap.scenario.data import SIZES


def sizes_table(record: RunRecord) -> Markup:
    """Return a row for each client's task, with what was asked for of each split and what was got; nothing where nobody knows."""
    rows: list[Sequence[str | Cell]] = []
    for client in record.clients:
        for task in client["tasks"]:
            kept = record.outcomes.get(str(client["id"]), {}).get(str(task["name"]))
            if kept is not None:
                cells = [_cell(asked(record.config, task, split), kept["sizes"].get(split)) for split in SIZES]
                rows.append((str(client["id"]), str(task["name"]), str(task.get("source") or "–"), *cells))
    if not rows:
        return Markup()
    caption = "Examples of each client's task: got, of so many asked for"
    inner = table(("client", "task", "source", *SIZES), rows, caption, numeric=range(3, 6))
    return collapsed(f"Sizes of {plural(len(rows), 'client task')}", inner, len(rows))


def asked(config: Mapping[str, Any], task: Mapping[str, Any], split: str) -> str:
    """Return how many examples of a split a task asks for: its own key, that of ``data``, or what its source gives unasked.

    >>> asked({"data": {"train": 64}}, {"source": "digits"}, "train"), asked({}, {"source": "csv"}, "test")
    ('64', 'all')
    """
    data = config.get("data")
    general = data.get(split) if isinstance(data, Mapping) else None
    own = "all" if task.get("source") in OWN_SOURCES else SIZES.get(split, "all")  # type: ignore[call-overload]
    return str(task.get(split) or general or own)[:20]


def _cell(wanted: str, got: int | None) -> Cell:
    if got is None:
        return Cell("–", "none")
    return Cell(f"{got:,} of {wanted}", sort=float(got))
