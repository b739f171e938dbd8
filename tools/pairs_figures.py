"""Draws the study of pairs again from its stored numbers: `python tools/pairs_figures.py` trains nothing.

It reads benchmarks/results/pairs-*.json, and writes the tables beside them (pairs-*.md) and the figures of docs/theory.md
(docs/figures/pairs-*.svg): what the page of the study shows, and the same bytes each time. Not here: the study itself
(`fedtap study pairs`).
"""

from __future__ import annotations

import json
from pathlib import Path

from fedtap.reporting.html.figure_files import write_figures
from fedtap.reporting.pairs.page import pairs_markdown, pairs_page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"


def redraw(stored: Path, tables: Path, figures: Path) -> list[Path]:
    """Write the tables and the figures of one stored study, and return the files."""
    result = json.loads(stored.read_text(encoding="utf-8"))
    file = tables / f"{stored.stem}.md"
    file.write_text(pairs_markdown(result), encoding="utf-8")
    return [file, *write_figures(pairs_page(result), figures)]


if __name__ == "__main__":
    for stored in sorted(RESULTS.glob("pairs-*.json")):
        for written in redraw(stored, RESULTS, FIGURES):
            print(written)
