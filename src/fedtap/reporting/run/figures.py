"""The figures of a run's report: losses, traffic, time."""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.reporting.html.charts import Line, bar_chart, line_chart
from fedtap.reporting.html.formatting import family_name, human_bytes, metric_name
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.run.series import Curve, Traffic

_MODELS = ("federated", "personal", "finetuned", "local")


def loss_figures(curves: Mapping[str, Mapping[str, Curve]]) -> list[Markup]:
    """Return the training losses, a chart for each family, a line for each model."""
    return [
        line_chart(
            family_name(family),
            f"Mean training loss per round of {family_name(family)}, by model: {', '.join(sorted(models, key=_rank))}",
            [Line(model, _rank(model)[0], sorted(models[model].items())) for model in sorted(models, key=_rank)],
            "round",
        )
        for family, models in curves.items()
    ]


def validation_figures(curves: Mapping[tuple[str, str], Mapping[str, Curve]]) -> list[Markup]:
    """Return what models score on validation data, a chart for each family and metric, a line for each model."""
    return [
        line_chart(
            f"{family_name(family)}: {metric_name(metric)}",
            f"Mean {metric_name(metric)} of {family_name(family)} on clients' validation data per round, by model: "
            + ", ".join(sorted(models, key=_rank)),
            [Line(model, _rank(model)[0], sorted(models[model].items())) for model in sorted(models, key=_rank)],
            "round",
        )
        for (family, metric), models in curves.items()
    ]


def traffic_figure(rounds: Mapping[int, Traffic]) -> Markup:
    """Return the bytes of each round, down to the clients and up from them."""
    scale, unit = byte_scale(max((max(t) for t in rounds.values()), default=0))
    bars = {
        "down": {number: t.down / scale for number, t in rounds.items()},
        "up": {number: t.up / scale for number, t in rounds.items()},
    }
    return bar_chart(f"{unit} a round", "Bytes sent down to the clients and up from them, per round", bars, "round")


def seconds_figure(seconds: Curve) -> Markup:
    """Return the wall-clock seconds of each round."""
    return bar_chart("seconds a round", "Wall-clock seconds of each round", {"": seconds}, "round")


def _rank(model: str) -> tuple[int, str]:
    """Return a model's colour and mark: the same in every figure, whichever models there are."""
    return (_MODELS.index(model) if model in _MODELS else len(_MODELS), model)


def byte_scale(largest: float) -> tuple[float, str]:
    """Return what to divide bytes by, and the unit's name, so that axes carry small numbers."""
    unit = human_bytes(largest).split()[1]
    return {"byte": 1.0, "bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit], unit
