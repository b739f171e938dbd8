"""Two sections of a report: gains client by task, as a coloured table, and who is hurt. Not here: the numbers (gains)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import listed, metric_name, number, p_value, plural, signed
from fedtap.reporting.html.page import Section, section
from fedtap.reporting.html.tables import Cell, collapsed, table
from fedtap.reporting.html.templating import piece, render
from fedtap.reporting.run.gains import Comparison, GainCell
from fedtap.reporting.run.headline import name_of
from fedtap.reporting.run.tables import Link

STEPS = (1.0, 3.0, 10.0)
"""From which gain on, in percent, a cell has the next darker colour."""
RESTS_ON = "the paired test of both models on the same test examples"
WITHOUT = (
    "a test of two shares as if their examples were different ones, since outcomes of single examples are not kept; of tasks "
    "with other metrics nothing is said"
)


def rests_on(found: Sequence[Comparison]) -> str:
    """Return in words what "more than chance" rests on."""
    return RESTS_ON if all(each.paired for each in found) else WITHOUT


def gains_section(found: Sequence[Comparison], key: Link, shown: Mapping[str, str]) -> Section | None:
    """Return the gains of every client and task, a table for each model compared with.

    Parameters
    ----------
    found
        The comparisons.
    key
        What links call the result of a client's task.
    shown
        Task -> what links call its examples, where there are some.
    """
    if not found:
        return None
    cells = [cell for each in found for cell in each.cells]
    tasks, clients = (list(dict.fromkeys(getattr(cell, what) for cell in cells)) for what in ("task", "client"))
    drawn = [_drawn(each, tasks, clients, key) for each in found]
    note = (
        "Relative gain in percent on the metric that counts for each task: positive is better, whatever the metric. A frame says "
        f"more than chance: at 5 %, by {rests_on(found)}, after Holm's correction for all cells of a table. A cell leads to the "
        "values."
    )
    grid = render("gains.html", ours=name_of(found[0].ours), comparisons=drawn, tasks=tasks, shown=shown)
    return section(
        "Gains, client by task",
        piece("note", note),
        collapsed(f"Gains of all {plural(len(clients), 'client')}", grid, len(clients)),
    )


def _drawn(found: Comparison, tasks: Sequence[str], clients: Sequence[str], key: Link) -> dict[str, Any]:
    cells = {(cell.client, cell.task): cell for cell in found.cells}
    rows = [
        (client, [_cell(found, cells[client, task], key) if (client, task) in cells else None for task in tasks])
        for client in clients
    ]
    return {
        "other": name_of(found.other),
        "caption": f"Gain of {name_of(found.ours)} over {name_of(found.other)}, in percent",
        "rows": rows,
    }


def _cell(found: Comparison, cell: GainCell, key: Link) -> dict[str, str]:
    sure = "" if cell.p is None else f"; p {p_value(cell.p)} after Holm's correction"
    words = f"{metric_name(cell.metric)}: {found.ours} {number(cell.value)}, {found.other} {number(cell.base)}{sure}"
    kind = f"{_colour(cell)}{' sure' if cell.beyond_noise else ''}"
    text = signed(cell.percent) if cell.percent is not None else {1: "ahead", -1: "behind", 0: "level"}[cell.order]
    return {"text": text, "kind": kind, "title": words, "href": f"#{key(cell.client, cell.task)}"}


def _colour(cell: GainCell) -> str:
    size = abs(cell.percent) if cell.percent is not None else STEPS[0]
    if cell.order == 0 or round(size, 1) == 0:
        return "zero"
    return f"{'gain' if cell.order > 0 else 'loss'}-{1 + sum(size >= step for step in STEPS)}"


def hurt_section(found: Sequence[Comparison]) -> Section | None:
    """Return how many clients are worse off, by how much the worst tenth, and who they are."""
    if not found:
        return None
    rows = []
    for each in found:
        clients, hurt, worst = each.by_client, each.hurt, each.worst
        known = [cell.percent for cell in worst if cell.percent is not None]
        share = f"{len(hurt)} of {len(clients)}" + (f" ({len(hurt) / len(clients):.0%})" if clients else "")
        rows.append(
            (
                f"than {name_of(each.other)}",
                share,
                f"{each.count(-1)} of {len(each.cells)}",
                str(each.count(-1, beyond=True)),
                f"{signed(sum(known) / len(known))} %" if known else "–",
                Cell(listed([f"{client} ({signed(mean)} %)" for client, mean in hurt], most=5) or "nobody", "wrap"),
            )
        )
    head = ("worse", "clients", "client tasks", "beyond noise", "worst tenth gains", "which clients, the worst first")
    note = (
        f"With {name_of(found[0].ours)} a client is worse off where the mean gain of its tasks is below 0. The worst tenth are "
        "the client tasks that gain least."
    )
    return section(
        "Who is worse off",
        piece("note", note),
        table(head, rows, f"Clients and tasks that lose by having {name_of(found[0].ours)}", numeric=(1, 2, 3, 4)),
    )
