"""The tables and figures of a stored study, made again and held against what is committed."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def redrawn(name: str, page: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Path]:
    """Make a study's tables and figures from its stored numbers, hold them against the committed ones, return the figures.

    ``page`` is the text that shows them.
    """
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import study_figures

    tables, *drawn = study_figures.redraw(study_figures.RESULTS / f"{name}.json", folder, folder)
    del sys.modules["study_figures"]
    assert tables.read_text(encoding="utf-8") == (ROOT / "benchmarks" / "results" / tables.name).read_text(
        encoding="utf-8"
    )
    for figure in drawn:
        assert f"(figures/{figure.name})" in page
        now, committed = (
            path.read_text(encoding="utf-8") for path in (figure, ROOT / "docs" / "figures" / figure.name)
        )
        assert len(committed) == pytest.approx(len(now), rel=0.01)  # another matplotlib may round
    return drawn
