"""A comparison's tables as Markdown, to be committed beside its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.comparison.summary import comparison_sentences
from fedtap.reporting.comparison.tables import (
    SPLIT_NAMES,
    cost_grid,
    family_grid,
    gains_grid,
    paired_grid,
    ranked,
)
from fedtap.reporting.html.grid import Grid

Values = Mapping[str, Any]


def comparison_markdown(result: Values, costs: Sequence[Values]) -> str:
    """Return a comparison as Markdown; the arguments are those of :func:`comparison_page`."""
    seeds = ", ".join(map(str, result["seeds"]))
    parts = [
        f"# Comparison: {result['scenario']}, seeds {seeds}",
        provenance_line(result),
        *comparison_sentences(result),
    ]
    for split, values in result["splits"].items():
        parts += _titled(gains_grid(values, SPLIT_NAMES[split], result["base"]))
    for split, values in result["splits"].items():
        order = [result["base"], *(row["method"] for row in ranked(values["all"]["delta"]))]
        parts += _titled(family_grid(values, order, SPLIT_NAMES[split]))
    for split, values in result["splits"].items():
        caption = f"Gain less that of {result['against']}, {SPLIT_NAMES[split]}"
        parts += _titled(paired_grid(values["all"]["against"], caption, seeds=len(result["seeds"])))
    parts += _titled(cost_grid(costs, result["base"]))
    return "\n\n".join(parts) + "\n"


def provenance_line(result: Values) -> str:
    """Return a line on versions and machine."""
    commit = f", commit {result['commit']}" if result.get("commit") else ""
    return (
        f"fedtap {result['fedtap']}{commit}, torch {result['torch']}, Python {result['python']}, {result['machine']}."
    )


def _titled(grid: Grid) -> list[str]:
    return [f"## {grid.caption}", grid.markdown()]
