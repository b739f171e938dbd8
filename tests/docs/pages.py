"""The blocks of the documentation that are marked to be run. Not here: what is asserted of them (test_blocks.py).

A block is marked by a comment on the line before its fence, which no reader sees: ``<!-- docs-test -->``; or, where its text is a
file that later blocks use, ``<!-- docs-test: file NAME -->``.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_MARKED = re.compile(
    r"^<!-- docs-test(?:: file (?P<file>[\w.-]+))? -->\n(?P<fence>```+)(?P<language>\w+)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
MARK = "<!-- docs-test"


class Block(NamedTuple):
    """A fenced block: its language and text, and the file that it is, if it is one."""

    language: str
    text: str
    file: str | None


def marked(page: Path) -> Sequence[Block]:
    """Return the marked blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(found["language"], found["text"], found["file"]) for found in _MARKED.finditer(text)]


def commands(text: str) -> Iterator[str]:
    """Iterate over the commands of a console block; a backslash at its end continues a line."""
    for line in text.replace("\\\n", " ").splitlines():
        command = re.sub(r"\s+#.*$", "", line).strip()
        if command and not command.startswith("#"):
            yield command
