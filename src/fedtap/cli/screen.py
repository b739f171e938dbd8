"""How the commands write: tables and lines on standard output, progress on standard error."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fedtap.runtime.text import neutral, neutral_lines

WIDE = 200
"""Columns where the output is no terminal: a table in a file is not to be folded."""


_ACTIVE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What JSON leaves as it is within its strings, and a terminal does not."""
PLAIN = {
    "↑": "^",
    "↓": "v",
    "–": "-",
    "—": "-",
    "…": "...",
    "±": "+/-",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "·": "-",
}
"""What stands for our own signs where the output has none of them."""


def write_what_the_output_can() -> None:
    """Let no sign end a command whose output is not in UTF-8: what the encoding lacks is written plainly, or as ``?``."""
    codecs.register_error("fedtap", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="fedtap")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def screen(*, errors: bool = False) -> Console:
    """Return a console for standard output, or standard error."""
    console = Console(stderr=errors, highlight=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(stderr=errors, highlight=False, width=WIDE)
    return console


def say(text: str) -> None:
    """Write a text, never folded; what would act on a terminal is written out."""
    screen().print(Text(neutral_lines(text)), soft_wrap=True)


def note(line: str) -> None:
    """Write a line beside the output, to standard error."""
    print(f"fedtap: {neutral(line)}", file=sys.stderr)


def say_json(value: Any) -> None:
    """Write a value as JSON; where the output is not in UTF-8, with escapes, so that nothing of it is lost."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    text = json.dumps(value, indent=2, ensure_ascii=encoding != "utf8")
    print(_ACTIVE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def show_table(
    head: Sequence[str], rows: Iterable[Sequence[str | Text]], *, title: str = "", numeric_from: int | None = None
) -> None:
    """Write a table; columns from ``numeric_from`` are aligned as numbers."""
    table = Table(
        title=escape(neutral(title)) or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    for at, name in enumerate(head):
        numeric = numeric_from is not None and at >= numeric_from
        table.add_column(
            escape(neutral(name)), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
        )
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    screen().print(table)


def _cell(cell: str | Text) -> Text:
    return Text(neutral(cell.plain), style=cell.style) if isinstance(cell, Text) else Text(neutral(cell))


def examples(*lines: str) -> str:
    """Return the epilog of a command's help: an example a line."""
    return "\n\n".join(["**Examples**", *(f"- `{line}`" for line in lines)])  # Typer folds what no empty line parts
