"""Text from outside, made neutral before it is shown: it can turn no terminal, no line and no page around it."""

from __future__ import annotations

import re

_ACTIVE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, ESC among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what stands beside them
    "\u2028\u2029"  # separators of lines and paragraphs
    "\ufeff\ufff9-\ufffb"  # a byte order mark, annotations
    "\ud800-\udfff"  # halves of characters, which no encoding takes
    "]"
)
"""Zero-width joiners stay: Persian words and many emoji are spelled with them, and they move nothing."""


def neutral(text: str) -> str:
    r"""Return a text with a visible escape in the place of each active character.

    >>> neutral("red\x1b[31m"), neutral("a\u202eb"), neutral("two\nlines")
    ('red\\x1b[31m', 'a\\u202eb', 'two\\nlines')
    """
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def one_line(text: str, limit: int | None = None) -> str:
    r"""Return a text as one neutral line: runs of white space are single spaces, and what exceeds the limit is cut off.

    >>> one_line("out of\n\torder\x07"), one_line("a long text", 6)
    ('out of order\\x07', 'a lon…')
    """
    line = neutral(" ".join(text.split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def neutral_lines(text: str) -> str:
    """Return a text whose lines stay lines, each of them neutral."""
    return "\n".join(neutral(line) for line in text.split("\n"))
