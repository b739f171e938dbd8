"""The figures of a run for a notebook: gains, losses, replacements, traffic and time. From the numbers of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from fedtap.reporting.html.formatting import family_name, plural
from fedtap.reporting.html.svg import INK, SERIES, STYLE, Drawing
from fedtap.reporting.run.decisions import Timeline, changed, is_first
from fedtap.reporting.run.figures import byte_scale
from fedtap.reporting.run.gains import Comparison
from fedtap.reporting.run.headline import name_of
from fedtap.reporting.run.series import Curve, Traffic
from fedtap.reporting.sweep.figures import panelled
from fedtap.reporting.sweep.series import Line, Scale
from fedtap.runtime.text import one_line

MOST_NAMES = 60
"""Client tasks that have their names at an axis; of more none could be read."""
ROW = 0.21  # inches: a client task's height
SMALLEST, LARGEST = 2.4, 13.0  # inches: a figure's height
PLAIN = {**STYLE, "text.parse_math": False}
"""Names are shown as they are, whatever signs are in them."""
OUTCOMES = (("replaced", SERIES[1], "s"), ("kept", SERIES[0], "s"), ("first, no choice", "none", "s"))


def gains(found: Comparison) -> Drawing:
    """Return the relative gain of every client task, the highest on top; a mark is filled where it is beyond noise."""
    known = sorted((cell for cell in found.cells if cell.percent is not None), key=lambda cell: cell.percent or 0.0)
    with rc_context(PLAIN):
        figure = Drawing(figsize=(6.6, _height(len(known))), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.9, alpha=0.6)
        for place, cell in enumerate(known):
            percent = float(cell.percent or 0.0)
            colour = SERIES[0] if percent >= 0 else SERIES[1]
            axes.plot([0, percent], [place, place], color=colour, linewidth=1.0, alpha=0.5)
            face = colour if cell.beyond_noise else "white"
            axes.plot([percent], [place], "o", color=colour, markerfacecolor=face, markersize=5)
        names = [one_line(f"{cell.client} · {cell.task}", 40) for cell in known]
        _named(axes, names)
        axes.set_xlabel(f"gain over {name_of(found.other)}, %")
        axes.set_title(f"{found.ours} against {found.other}; filled: beyond noise")
    return figure


def losses(curves: Mapping[str, Mapping[str, Curve]]) -> Drawing:
    """Return the mean training losses, a panel for each family of tasks, a line for each model."""
    numbers = sorted({number for models in curves.values() for curve in models.values() for number in curve})
    scale = Scale("round", {str(number): float(number) for number in numbers}, "linear")
    panels = {
        family_name(family): [
            Line(model, {str(number): (loss, None) for number, loss in curve.items()})
            for model, curve in models.items()
        ]
        for family, models in curves.items()
    }
    return panelled(panels, scale)


def replacements(lines: Sequence[Timeline]) -> Drawing:
    """Return when the federated model took the personal one's place: a row for each client task, a mark for each decision."""
    with rc_context(PLAIN):
        figure = Drawing(figsize=(6.6, _height(len(lines))), layout="constrained")
        axes = figure.add_subplot()
        places: dict[str, list[tuple[int, int]]] = {name: [] for name, _, _ in OUTCOMES}
        for place, line in enumerate(reversed(lines)):
            for number, decision in line.rounds.items():
                kind = "first, no choice" if is_first(decision) else "replaced" if changed(decision) else "kept"
                places[kind].append((number, place))
        for name, colour, mark in OUTCOMES:
            if at := places[name]:
                edge = INK if colour == "none" else colour
                x, y = [number for number, _ in at], [place for _, place in at]
                axes.plot(x, y, mark, color=edge, markerfacecolor=colour, markersize=6, label=name)
        _named(axes, [one_line(f"{line.client} · {line.task}", 40) for line in reversed(lines)])
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title("When the federated model took over")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def cost(rounds: Mapping[int, Traffic], seconds: Curve) -> Drawing:
    """Return the bytes that travelled and the seconds that passed in each round."""
    with rc_context(PLAIN):
        figure = Drawing(figsize=(9.2, 2.8), layout="constrained")
        moved, spent = figure.subplots(1, 2)
        scale, unit = byte_scale(max((max(each) for each in rounds.values()), default=0))
        for side, (name, shift) in enumerate((("down", -0.2), ("up", 0.2))):
            at, values = [number + shift for number in rounds], [traffic[side] / scale for traffic in rounds.values()]
            moved.bar(at, values, width=0.38, color=SERIES[side], label=name)
        moved.set_title(f"{unit} a round")
        spent.bar(list(seconds), list(seconds.values()), width=0.76, color=SERIES[0])
        spent.set_title("seconds a round")
        for axes in (moved, spent):
            axes.set_xlabel("round")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if rounds:
            figure.legend(loc="outside lower left", ncols=2)
    return figure


def _height(rows: int) -> float:
    return min(LARGEST, max(SMALLEST, 1.2 + ROW * rows))


def _named(axes: Any, names: Sequence[str]) -> None:
    """Write a name at each row, or how many there are where they would not be read."""
    if len(names) > MOST_NAMES:
        axes.set_yticks([])
        axes.set_ylabel(plural(len(names), "client task"))
    else:
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.7, max(len(names), 1) - 0.3)
