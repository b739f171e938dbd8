"""Advice as Markdown, to be committed beside its JSON, or sent to whoever has to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.advice.sentences import advice_sentences
from fedtap.reporting.advice.tables import advice_grid
from fedtap.reporting.comparison.markdown import provenance_line

Values = Mapping[str, Any]


def advice_markdown(result: Values, costs: Sequence[Values]) -> str:
    """Return advice as Markdown; the arguments are those of :func:`fedtap.reporting.advice.sentences.advice_sentences`."""
    first, *others = advice_sentences(result, costs)
    grid = advice_grid(result)
    parts = [
        f"# Advice: {result['scenario']}",
        f"**{first}**",
        *others,
        f"## {grid.caption}",
        grid.markdown(),
        f"The methods of the last rung, seeds {', '.join(map(str, result['seeds']))}: [comparison.html](comparison.html).",
        provenance_line(result),
    ]
    return "\n\n".join(parts) + "\n"
