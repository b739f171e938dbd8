"""Draws the studies again from their stored numbers: `python tools/study_figures.py` trains nothing.

It reads benchmarks/results/pairs-*.json and regimes*.json, and writes the tables beside them (Markdown) and the figures of
docs/theory.md and docs/results.md (docs/figures): what the page of a study shows, and the same bytes each time. Not here: the
studies themselves (`fedtap study pairs`, `fedtap study regimes`).
"""

from __future__ import annotations

import json
from pathlib import Path

from fedtap.reporting.html.figure_files import write_figures
from fedtap.reporting.pairs.page import pairs_markdown, pairs_page
from fedtap.reporting.regimes.page import regimes_markdown, regimes_page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
STUDIES = {"pairs": (pairs_markdown, pairs_page), "regimes": (regimes_markdown, regimes_page)}
"""How the tables and the page of a study are made, by how its file's name begins."""
DRAWN = ("pairs-real", "pairs-synthetic", "regimes-map")
"""Studies whose page has figures that a document shows."""


def redraw(stored: Path, tables: Path, figures: Path) -> list[Path]:
    """Write the tables and the figures of one stored study, and return the files."""
    markdown, page = STUDIES[stored.stem.partition("-")[0]]
    result = json.loads(stored.read_text(encoding="utf-8"))
    file = tables / f"{stored.stem}.md"
    file.write_text(markdown(result), encoding="utf-8")
    return [file, *(write_figures(page(result), figures) if stored.stem in DRAWN else [])]


if __name__ == "__main__":
    for study in STUDIES:
        for stored in sorted(RESULTS.glob(f"{study}*.json")):
            for written in redraw(stored, RESULTS, FIGURES):
                print(written)
