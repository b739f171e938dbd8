"""The figures of a run's report: losses, traffic, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from fedtap.reporting.html.formatting import family_name, human_bytes
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.svg import MARKS, SERIES, STYLE, inline
from fedtap.reporting.run.series import Curve, Traffic

_MODELS = ("federated", "personal", "finetuned", "local")


def loss_figure(curves: Mapping[str, Mapping[str, Curve]]) -> Markup:
    """Return the training losses, a panel for each family, a line for each model."""
    with rc_context(STYLE):
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
                    color=SERIES[place % len(SERIES)],
                    marker=MARKS[place % len(MARKS)],
                    label=model,
                )
            axes.set_title(family_name(family))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axes.set_xlabel("round")
            axes.legend(loc="best")
            axes.grid(axis="x", visible=False)
        return inline(figure, "Mean training loss per round, by task family and model")


def traffic_figure(rounds: Mapping[int, Traffic]) -> Markup:
    """Return the bytes of each round, down to the clients and up from them."""
    scale, unit = _scale(max((max(t) for t in rounds.values()), default=0))
    bars = {"down": [t.down / scale for t in rounds.values()], "up": [t.up / scale for t in rounds.values()]}
    return _bars(list(rounds), bars, f"{unit} a round", "Bytes sent down to the clients and up from them, per round")


def seconds_figure(seconds: Curve) -> Markup:
    """Return the wall-clock seconds of each round."""
    return _bars(list(seconds), {"": list(seconds.values())}, "seconds", "Wall-clock seconds of each round")


def _bars(x: Sequence[int], heights: Mapping[str, Sequence[float]], label: str, title: str) -> Markup:
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.4), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(heights)
        for number, (name, values) in enumerate(heights.items()):
            shift = (number - (len(heights) - 1) / 2) * width
            axes.bar([at + shift for at in x], values, width=width * 0.92, color=SERIES[number], label=name)
        axes.set_xlabel("round")
        axes.set_title(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.grid(axis="x", visible=False)
        if len(heights) > 1:
            figure.legend(loc="outside upper right", ncols=len(heights))
        return inline(figure, title)


def _rank(model: str) -> tuple[int, str]:
    """Return a model's colour and mark: the same in every figure, whichever models there are."""
    return (_MODELS.index(model) if model in _MODELS else len(_MODELS), model)


def _scale(largest: float) -> tuple[float, str]:
    """Return what to divide bytes by, and the unit's name, so that axes carry small numbers."""
    unit = human_bytes(largest).split()[1]
    return {"byte": 1.0, "bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit], unit
