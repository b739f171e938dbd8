"""The results as HTML tables: per family, per client and task, and every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import family_name, metric_name, number, plural
from fedtap.reporting.html.markup import Markup, el, join
from fedtap.reporting.html.tables import collapsed, table
from fedtap.reporting.run.standings import (
    FamilyStanding,
    Standing,
    better,
    family_standings,
    model_order,
)
from fedtap.tasks.metrics.table import HIGHER_IS_BETTER


def family_table(standings: Sequence[Standing]) -> Markup:
    """Return the mean of the primary metric per family and model, beside the mean of the strongest trivial baselines."""
    families = family_standings(standings)
    models = model_order(name for family in families for name in family.values)
    rows = [
        (
            family_name(family.family),
            _metric(family.metric),
            str(family.client_tasks),
            "–" if family.baseline is None else number(family.baseline),
            *(_value(family, model, family.baseline) for model in models),
        )
        for family in families
    ]
    head = ("family", "metric", "client tasks", "baseline", *models)
    return table(head, rows, "Mean over client tasks", numeric=range(2, len(head)))


def standing_table(standings: Sequence[Standing], caption: str) -> Markup:
    """Return the primary metric of every client and task, each model beside the strongest trivial baseline."""
    models = model_order(name for standing in standings for name in standing.values)
    rows = []
    for standing in standings:
        baseline = standing.baseline
        shown = (
            join([number(baseline[1]), " ", el("small", baseline[0].replace("_", " "))]) if baseline else Markup("–")
        )
        rows.append(
            (
                standing.client,
                standing.task,
                _metric(standing.metric),
                str(standing.n) if standing.n else "–",
                el("td", shown, class_="num"),
                *(_value(standing, model, baseline[1] if baseline else None) for model in models),
            )
        )
    head = ("client", "task", "metric", "n", "trivial baseline", *models)
    return collapsed(
        f"All {plural(len(rows), 'client task')}", table(head, rows, caption, numeric=range(3, len(head))), len(rows)
    )


def every_metric(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Return every row of results.json, collapsed."""
    body = [
        (
            row["client"],
            row["task"],
            row["split"],
            metric_name(row["metric"]),
            row["model"],
            number(row["value"]),
            str(row.get("n") or "–"),
        )
        for row in rows
    ]
    inner = table(("client", "task", "split", "metric", "model", "value", "n"), body, "Every metric", numeric=(5, 6))
    return collapsed(f"Every metric of every model ({plural(len(body), 'row')})", inner, len(body), limit=0)


def _value(standing: Standing | FamilyStanding, model: str, baseline: float | None) -> Markup:
    """Return the cell of a model: the best is marked by weight and sign, what loses to the baseline by a sign too."""
    value = standing.values.get(model)
    if value is None:
        return el("td", "–", class_="num none")
    best = model in standing.best and len(standing.values) > 1
    loses = baseline is not None and better(standing.metric, baseline, value)
    marks = [el("span", "★", class_="mark", title="best model", role="img", aria_label="best model")] if best else []
    if loses:
        marks.append(
            el(
                "span",
                "▿",
                class_="mark",
                title="worse than the baseline",
                role="img",
                aria_label="worse than the baseline",
            )
        )
    return el(
        "td",
        *marks,
        number(value),
        class_=" ".join(["num", *(["best"] if best else []), *(["loses"] if loses else [])]),
    )


def _metric(metric: str) -> str:
    return f"{metric_name(metric)} {'↑' if HIGHER_IS_BETTER.get(metric, True) else '↓'}"
