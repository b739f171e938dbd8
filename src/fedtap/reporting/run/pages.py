"""A report of many clients in pages: what is about single clients goes to pages of some clients each, beside the report.

With few clients there are none, and the report is one file. Not here: what stands on a page (report.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.tables import Cell, table
from fedtap.reporting.run.record import RunRecord

MOST = 250
"""A report of more clients has pages."""
ON_A_PAGE = 100
FOLDER = "report-pages"


@dataclass(frozen=True, slots=True)
class ClientPage:
    """A page: its file's name, which clients it is of, and the run's record as far as it is about them."""

    file: str
    clients: tuple[str, ...]
    record: RunRecord

    @property
    def title(self) -> str:
        """The first and the last client, in words."""
        return (
            f"Clients {self.clients[0]} to {self.clients[-1]}" if len(self.clients) > 1 else f"Client {self.clients[0]}"
        )


def client_pages(record: RunRecord) -> Iterator[ClientPage]:
    """Give the pages of a record, one at a time, in the scenario's order of clients; none where they fit in the report."""
    clients = record.clients
    if len(clients) <= MOST:
        return
    for number, start in enumerate(range(0, len(clients), ON_A_PAGE), start=1):
        here = clients[start : start + ON_A_PAGE]
        names = tuple(str(client["id"]) for client in here)
        its = frozenset(names)
        run = {**record.run, "config": {**record.config, "clients": here}}
        rows = None if record.rows is None else [row for row in record.rows if row["client"] in its]
        events = [event for event in record.events if event.get("client") in its]
        outcomes = {client: kept for client, kept in record.outcomes.items() if client in its}
        mine = replace(record, run=run, rows=rows, events=events, outcomes=outcomes)
        yield ClientPage(f"clients-{number:04d}.html", names, mine)


def without_clients(record: RunRecord) -> RunRecord:
    """Return a record whose configuration lists no clients: they stand on the pages."""
    return replace(record, run={**record.run, "config": {**record.config, "clients": []}})


def contents(pages: list[ClientPage]) -> Markup:
    """Return the list of pages, with links."""
    rows = [
        (Cell(page.title, href=f"{FOLDER}/{page.file}"), str(len(page.clients)), str(len(page.record.rows or ())))
        for page in pages
    ]
    return table(("page", "clients", "results"), rows, "Results, decisions and settings of each client", numeric=(1, 2))


def clear(folder: Path, kept: frozenset[str]) -> None:
    """Remove pages that an earlier report of this run had, and this one has not."""
    for path in (folder / FOLDER).glob("clients-*.html"):
        if path.name not in kept:
            path.unlink()
