"""What a comparison says of single clients, and where its runs' own reports are. Not here: means over clients (tables.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import plural, signed
from fedtap.reporting.html.grid import Grid
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.page import Section, section
from fedtap.reporting.html.tables import Cell, collapsed, table
from fedtap.reporting.html.templating import piece

Values = Mapping[str, Any]
Reports = Mapping[str, Mapping[int, str]]
"""Method (or setting) -> seed -> where the report of that run is, from the page on; those that there are."""
OPEN = 30
"""More clients than these stand behind a line to click on."""


def client_grid(clients: Sequence[Values], order: Sequence[str], base: str) -> Grid:
    """Return a row a client, a column a method, the mean gain over the client's tasks and all seeds."""
    head = ["client", "tasks", *order]
    body = [
        [str(row["client"]), str(row["tasks"]), *(signed(row["gains"].get(method)) for method in order)]
        for row in clients
    ]
    return Grid(f"Mean gain over {base} of each client, %", head, body)


def clients_section(clients: Sequence[Values], order: Sequence[str], base: str) -> Section | None:
    """Return what each client gains by each method."""
    if not clients:
        return None
    note = (
        "Means over a client's tasks and all seeds on its own test data. A client has few test examples, so most differences "
        "within a row are chance; what is sure is said of all clients together, above."
    )
    grid = client_grid(clients, order, base)
    title = f"All {plural(len(clients), 'client')}"
    return section("Client by client", piece("note", note), collapsed(title, grid.html(), len(clients), OPEN))


def runs_section(labels: Iterable[str], seeds: Sequence[int], reports: Reports) -> Section | None:
    """Return links to the reports of the runs that were compared, of those that are there."""
    rows: list[list[str | Cell]] = []
    for label in labels:
        found = reports.get(label, {})
        if found:
            links = [Cell("report", href=found[seed]) if seed in found else Cell("–", "none") for seed in seeds]
            rows.append([label, *links])
    if not rows:
        return None
    head = ("run", *(f"seed {seed}" for seed in seeds))
    shown: Markup = table(head, rows, "The report of each run")
    return section("The runs", collapsed(f"Reports of {plural(len(rows), 'row')} of runs", shown, len(rows)))
