"""The map: conflict across, examples up, a panel for each difference; where its sign changes runs a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.patches import Rectangle

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.svg import INK, SERIES, STYLE, Drawing, inline

PANEL = (3.6, 2.9)
AHEAD, BEHIND = SERIES[0], SERIES[1]


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: its title, and for each (conflict, examples) the difference and whether it is more than noise."""

    title: str
    cells: Mapping[tuple[float, float], tuple[float, bool]]

    @property
    def whole(self) -> bool:
        """Whether every combination of the two axes is there, two values of each at least."""
        across, up = ({cell[axis] for cell in self.cells} for axis in (0, 1))
        return len(across) > 1 and len(up) > 1 and len(self.cells) == len(across) * len(up)


def map_figure(panels: Sequence[Panel], title: str, unit: str) -> Markup:
    """Return the map for a page: blue where ahead, red where behind, paler the less; bold numbers are beyond noise."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    most = max((abs(value) for panel in panels for value, _ in panel.cells.values()), default=1.0) or 1.0
    with rc_context(STYLE):
        figure = Drawing(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
        for number, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, number)
            axes.grid(visible=False)
            across, up = (sorted({cell[axis] for cell in panel.cells}) for axis in (0, 1))
            for (conflict, examples), (value, sure) in panel.cells.items():
                x, y = across.index(conflict), up.index(examples)
                colour = AHEAD if value >= 0 else BEHIND
                axes.add_patch(
                    Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour, alpha=0.06 + 0.6 * abs(value) / most)
                )
                weight = "bold" if sure else "normal"
                axes.text(x, y, f"{value:+.1f}", ha="center", va="center", color=INK, fontweight=weight)
            if panel.whole:
                heights = np.array([[panel.cells[c, e][0] for c in across] for e in up])
                if heights.min() < 0 < heights.max():
                    axes.contour(
                        range(len(across)), range(len(up)), heights, levels=[0.0], colors=[INK], linewidths=1.6
                    )
            axes.set_xticks(range(len(across)), [f"{value:.0%}" for value in across])
            axes.set_yticks(range(len(up)), [f"{value:g}" for value in up])
            axes.set_xlim(-0.5, len(across) - 0.5)
            axes.set_ylim(-0.5, len(up) - 0.5)
            axes.tick_params(length=0)
            axes.set_title(_in_lines(panel.title))
            axes.set_xlabel("clients in conflict")
            if number % columns == 1 % columns:
                axes.set_ylabel("training examples a task")
        return inline(figure, f"{title}, {unit}")


def _in_lines(label: str, width: int = 34) -> str:
    """Return a method's label in lines that fit over a panel, broken before its settings.

    >>> print(_in_lines("tap_best:start=chosen+judge=calibrated+start_margin=0.1"))
    tap_best:start=chosen
    +judge=calibrated+start_margin=0.1
    """
    lines = [""]
    for number, setting in enumerate(label.split("+")):
        piece = f"+{setting}" if number else setting
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)
