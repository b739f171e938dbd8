"""Tables of a page: text in cells, numbers aligned, long ones collapsed. Not here: what stands in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.templating import piece

OPEN_ROWS = 40
"""Longer tables start collapsed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, and what is to be seen or done there beside it.

    Parameters
    ----------
    text
        What stands in it.
    kind
        Classes of the style sheet: ``best``, ``level``, ``loses``, ``none``.
    marks
        Signs before the text, each with its name for who does not see it.
    small
        A word behind it, in small letters.
    href
        Where the text leads.
    id
        What leads to this cell; of a row's first cell alone.
    sort
        By what the column is sorted, where the text does not tell.
    title
        What is shown where it is pointed at.
    """

    text: str
    kind: str = ""
    marks: Sequence[tuple[str, str]] = ()
    small: str = ""
    href: str = ""
    id: str = ""
    sort: float | None = None
    title: str = ""


def table(
    head: Sequence[str], rows: Sequence[Sequence[str | Cell]], caption: str, numeric: Collection[int] = ()
) -> Markup:
    """Return a table that scrolls where it is too wide; the first cell of a row heads the row.

    Cells are text, or :class:`Cell`; the columns of ``numeric`` are aligned as numbers.
    """
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    return piece("table", head, cells, caption, numeric)


def collapsed(title: str, content: Markup, rows: int, limit: int = OPEN_ROWS) -> Markup:
    """Return the content as it is, or, where it has more than ``limit`` rows, behind a line to click on."""
    return content if rows <= limit else piece("collapsed", title, content)
