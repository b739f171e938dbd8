"""The figures of a sweep: anything with an interval against the first swept setting, a panel each, a line a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter

from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.svg import INK, MARKS, SERIES, STYLE, Drawing, inline
from fedtap.reporting.sweep.series import Line, Scale


def sweep_figure(
    panels: Mapping[str, Sequence[Line]], scale: Scale, title: str, *, zero: bool = False, label: str = ""
) -> Markup:
    """Return :func:`panelled` for a page."""
    return inline(panelled(panels, scale, zero=zero, label=label), title)


def panelled(panels: Mapping[str, Sequence[Line]], scale: Scale, *, zero: bool = False, label: str = "") -> Drawing:
    """Return a panel for each title; bands and bars are 95 % intervals, dashed lines do not depend on the x axis.

    ``zero`` draws a line at 0; ``label`` says at the left of each row what is drawn.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    legend = 0.28 * (-(-len(names) // 2) + 1)
    width, height = 4.6 * columns if columns > 1 else 6.6, 2.8 * rows + legend
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Drawing(figsize=(width, height), layout=layout)
        shown = {}
        for number, (panel, lines) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, number)
            if zero:
                axes.axhline(0, color=INK, linewidth=0.9, alpha=0.6)
            for line in lines:
                place = names.index(line.name)
                colour, mark = SERIES[place % len(SERIES)], MARKS[place % len(MARKS)]
                if line.everywhere is not None:
                    mean, ends = line.everywhere
                    shown[line.name] = axes.axhline(mean, color=colour, linestyle="--")
                    if ends:
                        axes.axhspan(ends[0], ends[1], color=colour, alpha=0.09, linewidth=0)
                    continue
                points = sorted((scale.places[value], *mean) for value, mean in line.at.items())
                x, y = [point[0] for point in points], [point[1] for point in points]
                if scale.kind == "names":  # side by side, or their intervals would hide each other
                    x = [at + 0.1 * (place - (len(names) - 1) / 2) for at in x]
                (shown[line.name],) = axes.plot(x, y, color=colour, marker=mark)
                for at, (_, _, ends) in zip(x, points, strict=True):
                    if ends:
                        axes.plot([at, at], ends, color=colour, linewidth=1.1, alpha=0.55)
            if scale.kind == "names":
                axes.set_xticks(list(scale.places.values()), list(scale.places))
            elif scale.kind == "linear":
                if len(scale.places) <= 6:
                    axes.set_xticks(list(scale.places.values()), list(scale.places))
            else:
                smallest = min(abs(at) for at in scale.places.values() if at)
                axes.set_xscale(scale.kind, **({"linthresh": smallest} if scale.kind == "symlog" else {}))
                axes.set_xticks(list(scale.places.values()), list(scale.places))
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(panel)
            axes.set_xlabel(scale.name)
            if label and number % columns == 1 % columns:
                axes.set_ylabel(label)
        if len(shown) > 1:
            figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=2)
    return figure
