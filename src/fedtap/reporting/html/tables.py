"""Tables of a page: text in cells, numbers aligned, long ones collapsed. Not here: what stands in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedtap.reporting.html.markup import Markup, el

OPEN_ROWS = 40
"""Longer tables start collapsed."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, numeric: Collection[int] = ()) -> Markup:
    """Return a table that scrolls where it is too wide; the first cell of a row heads the row.

    Cells are text, or whole ``td`` elements; the columns of ``numeric`` are aligned as numbers.
    """
    heads = [el("th", name, scope="col", class_="num" if at in numeric else None) for at, name in enumerate(head)]
    body = [el("tr", el("th", row[0], scope="row"), *_cells(row[1:], numeric)) for row in rows]
    inner = el("table", el("caption", caption), el("thead", el("tr", *heads)), el("tbody", *body))
    return el("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def collapsed(title: str, content: Markup, rows: int, limit: int = OPEN_ROWS) -> Markup:
    """Return the content as it is, or, where it has more than ``limit`` rows, behind a line to click on."""
    if rows <= limit:
        return content
    return el("details", el("summary", title), content)


def _cells(cells: Sequence[str], numeric: Collection[int]) -> list[Markup]:
    return [
        cell if isinstance(cell, Markup) else el("td", cell, class_="num" if at in numeric else None)
        for at, cell in enumerate(cells, start=1)
    ]
