"""A page's figures as SVG files of their own, for papers and slides: the same lines, the page's colours written into them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from fedtap.reporting.html.templating import source
from fedtap.runtime.storage import write_bytes

_FIGURE = re.compile(r'<svg role="img" aria-label="([^"]*)" class="plot" .*?</svg>', re.DOTALL)
_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def write_figures(page: str, folder: Path) -> list[Path]:
    """Write each figure of a page to ``folder`` as ``<its title>.svg`` and return the files.

    A figure has the page's light colours, and its dark ones where whoever shows it asks for those.
    """
    written: list[Path] = []
    for found in _FIGURE.finditer(page):
        name = re.sub(r"[^a-z0-9]+", "-", unescape(found.group(1)).lower().replace("'", "")).strip("-")
        svg = found.group().replace('class="plot"', _NAMESPACES, 1)
        head = svg.index(">") + 1
        file = folder / f"{name}.svg"
        write_bytes(file, f"{svg[:head]}\n <style>{_colours()}</style>{svg[head:]}\n".encode())
        written.append(file)
    return written


def _colours() -> str:
    """Return the page's variables as style rules of a figure."""
    light, dark = (
        " ".join(block.split()) for block in re.findall(r":root \{(.*?)\}", source("style.css"), re.DOTALL)[:2]
    )
    own = "svg { color: var(--ink); background: var(--card); font-family: sans-serif; }"
    return f"svg {{ {light} }} {own} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}"
