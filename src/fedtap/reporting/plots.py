"""Figures as inline SVG that take their colours and font from the page, so that one figure serves light, dark and print."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from fedtap.reporting.markup import Markup, el
from fedtap.reporting.series import Curve, Traffic
from fedtap.reporting.words import family_name, human_bytes

# Matplotlib writes these; the page's variables take their place. They are colours that no figure uses otherwise.
_INK, _RULE = "#010203", "#010204"
_SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216")
_VARIABLES = {_INK: "currentColor", _RULE: "var(--rule)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, start=1)
}
_MODELS = ("federated", "personal", "finetuned", "local")
_MARKS = ("o", "s", "^", "D", "v", "P")

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.edgecolor": _RULE,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
}


def loss_figure(curves: Mapping[str, Mapping[str, Curve]]) -> Markup:
    """Return the training losses, a panel for each family, a line for each model."""
    with rc_context(_STYLE):
        columns = min(2, len(curves))
        rows = -(-len(curves) // columns)
        figure = Figure(figsize=(4.6 * columns, 2.6 * rows), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
        for number, (family, models) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(rows, columns, number)
            for model in sorted(models, key=_rank):
                points = sorted(models[model].items())
                place = _rank(model)[0]
                axes.plot(
                    [x for x, _ in points],
                    [y for _, y in points],
                    color=_SERIES[place % len(_SERIES)],
                    marker=_MARKS[place % len(_MARKS)],
                    label=model,
                )
            axes.set_title(family_name(family))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axes.set_xlabel("round")
            axes.legend(loc="best")
            axes.grid(axis="x", visible=False)
        return _inline(figure, "Mean training loss per round, by task family and model")


def traffic_figure(rounds: Mapping[int, Traffic]) -> Markup:
    """Return the bytes of each round, down to the clients and up from them."""
    scale, unit = _scale(max((max(t) for t in rounds.values()), default=0))
    bars = {"down": [t.down / scale for t in rounds.values()], "up": [t.up / scale for t in rounds.values()]}
    return _bars(list(rounds), bars, f"{unit} a round", "Bytes sent down to the clients and up from them, per round")


def seconds_figure(seconds: Curve) -> Markup:
    """Return the wall-clock seconds of each round."""
    return _bars(list(seconds), {"": list(seconds.values())}, "seconds", "Wall-clock seconds of each round")


def _bars(x: Sequence[int], heights: Mapping[str, Sequence[float]], label: str, title: str) -> Markup:
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.4), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(heights)
        for number, (name, values) in enumerate(heights.items()):
            shift = (number - (len(heights) - 1) / 2) * width
            axes.bar([at + shift for at in x], values, width=width * 0.92, color=_SERIES[number], label=name)
        axes.set_xlabel("round")
        axes.set_title(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.grid(axis="x", visible=False)
        if len(heights) > 1:
            figure.legend(loc="outside upper right", ncols=len(heights))
        return _inline(figure, title)


def _rank(model: str) -> tuple[int, str]:
    """Return a model's colour and mark: the same in every figure, whichever models there are."""
    return (_MODELS.index(model) if model in _MODELS else len(_MODELS), model)


def _scale(largest: float) -> tuple[float, str]:
    """Return what to divide bytes by, and the unit's name, so that axes carry small numbers."""
    unit = human_bytes(largest).split()[1]
    return {"byte": 1.0, "bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit], unit


def _inline(figure: Figure, description: str) -> Markup:
    """Return a figure as an SVG element with an accessible name, free of metadata and of links."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    # The salt makes element ids a function of the figure, so that equal runs make equal reports; two figures of a page
    # need different salts, or one's clip paths would apply to the other.
    with rc_context({**_STYLE, "svg.hashsalt": description}):
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
    named = svg.replace("<svg ", f'<svg role="img" aria-label="{el("i", description)[3:-4]}" class="plot" ', 1)
    return Markup(named)
