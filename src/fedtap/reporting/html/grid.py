"""Tables as data, written once and shown as HTML or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedtap.reporting.html.markup import Markup, join
from fedtap.reporting.html.tables import Cell, table
from fedtap.reporting.html.templating import piece


class Best(str):
    """The text of a cell that none other of its kind beats."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its caption, its heads, its rows of text; columns from ``numeric_from`` are aligned as numbers.

    ``note`` is what a reader must know to read its cells; it stands below it, wherever the table is shown.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric_from: int = 1
    note: str = ""

    def html(self) -> Markup:
        """Return the table as HTML."""
        rows = [[row[0], *(_cell(cell) for cell in row[1:])] for row in self.rows]
        shown = table(self.head, rows, self.caption, numeric=range(self.numeric_from, len(self.head)))
        return join([shown, piece("note", self.note)]) if self.note else shown

    def markdown(self) -> str:
        """Return the table as Markdown, with its note and without its caption."""
        marks = ["---:" if at >= self.numeric_from else "---" for at in range(len(self.head))]
        lines = [self.head, marks, *([f"**{c}**" if isinstance(c, Best) else c for c in row] for row in self.rows)]
        shown = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"{shown}\n\n{self.note}" if self.note else shown


def _cell(cell: str) -> str | Cell:
    if isinstance(cell, Best):
        return Cell(str(cell), "best", (("★", "best"),))
    return cell
