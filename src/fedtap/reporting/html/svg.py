"""Figures as inline SVG that take their colours and font from the page, so that one figure serves light, dark and print.

Until then a figure has the page's light colours, and is fit to be shown as it is: in a notebook, or in a file of its own.
"""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from fedtap.reporting.html.markup import Markup, join

# The page's light colours (style.css). Matplotlib writes these, and no others; on a page its variables take their place.
INK, RULE = "#1f2328", "#d9d6cf"
SERIES = ("#2a6f97", "#c8553d", "#5f8d3a", "#8a5aa5", "#b08a1e", "#4a4e57")
_VARIABLES = {INK: "currentColor", RULE: "var(--rule)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)
}
STRETCH = 4 / 3
"""Pixels for each point of a figure's width, at the most: its own size."""
DPI = 90
"""Pixels of an inch, where a notebook shows a figure."""
MARKS = ("o", "s", "^", "D", "v", "P")

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": RULE,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
}


class Drawing(Figure):
    """A figure that a notebook shows as a picture, whether or not pyplot was ever loaded there."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


def inline(figure: Figure, description: str) -> Markup:
    """Return a figure as an SVG element with an accessible name, free of metadata and of links."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    # The salt makes element ids a function of the figure, so that equal runs make equal reports; two figures of a page
    # need different salts, or one's clip paths would apply to the other.
    with rc_context({**STYLE, "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: (\w+ )*?(\d[\d.]*px) [^;\"]*", r"font-size: \2", svg)
    svg = re.sub(r'\sid="(?!\w*clip|[pm][0-9a-f]{10})[^"]*"', "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    found = re.search(r'viewBox="0 0 ([\d.]+) ', svg)
    wide = f' style="max-width: {float(found.group(1)) * STRETCH:.0f}px"' if found else ""  # never stretched
    named = svg.replace("<svg ", f'<svg role="img" aria-label="{join([description])}" class="plot"{wide} ', 1)
    return Markup(named)
