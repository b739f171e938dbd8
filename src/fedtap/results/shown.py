"""How a notebook shows a result: a heading, sentences, a table, and where the report is. Not here: what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from fedtap.reporting.html.markup import Markup, join
from fedtap.reporting.html.templating import piece, render
from fedtap.runtime.errors import UserError

Told = tuple[str, Sequence[str], Markup]
"""A heading, sentences, a table."""


def shown(tell: Callable[[], Told], report: Path) -> str:
    """Return the HTML of a result; where its files cannot be read any more, the line that says so, and no traceback."""
    try:
        heading, lines, table = tell()
    except UserError as error:
        return render("notebook.html", heading="", lines=[str(error)], bars=[], table=Markup(), below=[])
    below = [join(["Report: ", _linked(report)])] if report.exists() else []
    return render("notebook.html", heading=heading, lines=lines, bars=[], table=table, below=below)


def _linked(report: Path) -> Markup:
    """Return a link where the notebook is served from above the file, else the path alone: browsers refuse the rest."""
    if report.is_absolute() or ".." in report.parts:
        return piece("code", str(report))
    return piece("link", str(report), quote(report.as_posix()))
