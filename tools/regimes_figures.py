"""Draws the studies of regimes again from their stored numbers: `python tools/regimes_figures.py` trains nothing.

It reads benchmarks/results/regimes*.json, and writes the tables beside them (regimes*.md) and, of the map, the figures of
docs/results.md (docs/figures): what the page of the study shows, and the same bytes each time. Not here: the study itself
(`fedtap study regimes`).
"""

from __future__ import annotations

import json
from pathlib import Path

from fedtap.reporting.html.figure_files import write_figures
from fedtap.reporting.regimes.page import regimes_markdown, regimes_page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
MAP = "regimes-map"


def redraw(stored: Path, tables: Path, figures: Path) -> list[Path]:
    """Write the tables of one stored study, and of the map its figures, and return the files."""
    result = json.loads(stored.read_text(encoding="utf-8"))
    file = tables / f"{stored.stem}.md"
    file.write_text(regimes_markdown(result), encoding="utf-8")
    return [file, *(write_figures(regimes_page(result), figures) if stored.stem == MAP else [])]


if __name__ == "__main__":
    for stored in sorted(RESULTS.glob("regimes*.json")):
        for written in redraw(stored, RESULTS, FIGURES):
            print(written)
