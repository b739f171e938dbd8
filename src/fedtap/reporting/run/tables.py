"""The results as HTML tables: per family, per client and task, and every metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedtap.metrics.table import HIGHER_IS_BETTER
from fedtap.reporting.html.formatting import family_name, metric_name, number, plural
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.tables import Cell, collapsed, table
from fedtap.reporting.run.gains import Marks, Outcomes, family_marks, marks
from fedtap.reporting.run.standings import (
    FamilyStanding,
    Standing,
    better,
    family_standings,
    model_order,
)

BEST, LEVEL, LOSES = ("★", "best, beyond noise"), ("≈", "level with the best"), ("▿", "worse than the baseline")
Link = Callable[[str, str], str]
"""(client, task) -> where something of it is, or nothing."""


def family_table(standings: Sequence[Standing]) -> Markup:
    """Return the mean of the primary metric per family and model, beside the mean of the strongest trivial baselines."""
    families = family_standings(standings)
    models = model_order(name for family in families for name in family.values)
    rows: list[Sequence[str | Cell]] = [
        (
            family_name(family.family),
            _metric(family.metric),
            str(family.client_tasks),
            "–" if family.baseline is None else number(family.baseline),
            *_values(family, models, family.baseline, family_marks(family, standings)),
        )
        for family in families
    ]
    head = ("family", "metric", "client tasks", "baseline", *models)
    return table(head, rows, "Mean over client tasks", numeric=range(2, len(head)))


def standing_table(
    standings: Sequence[Standing],
    caption: str,
    outcomes: Outcomes,
    *,
    key: Link | None = None,
    card: Link | None = None,
) -> Markup:
    """Return the primary metric of every client and task, each model beside the strongest trivial baseline.

    Parameters
    ----------
    standings, outcomes
        The results, and those of single examples as far as they are there.
    caption
        What the table shows.
    key
        What links call the row of a client's task.
    card
        Where the model card of a client is.
    """
    models = model_order(name for standing in standings for name in standing.values)
    cards = [card(standing.client, standing.task) if card else "" for standing in standings]
    rows: list[Sequence[str | Cell]] = []
    for standing, href in zip(standings, cards, strict=True):
        baseline = standing.baseline
        trivial = Cell(number(baseline[1]), small=baseline[0].replace("_", " ")) if baseline else "–"
        rows.append(
            (
                Cell(standing.client, id=key(standing.client, standing.task) if key else ""),
                standing.task,
                _metric(standing.metric),
                str(standing.n) if standing.n else "–",
                trivial,
                *_values(standing, models, baseline[1] if baseline else None, marks(standing, outcomes)),
                *((Cell("card", href=href) if href else "–",) if any(cards) else ()),
            )
        )
    head = ("client", "task", "metric", "n", "trivial baseline", *models)
    shown = table((*head, "model card") if any(cards) else head, rows, caption, numeric=range(3, len(head)))
    return collapsed(f"All {plural(len(rows), 'client task')}", shown, len(rows))


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


def _values(
    standing: Standing | FamilyStanding, models: Sequence[str], baseline: float | None, found: Marks | None
) -> list[Cell]:
    """Return the cells of the models: signs and weight say who is best, who is level with it, who loses to the baseline."""
    cells: list[Cell] = []
    for model in models:
        value = standing.values.get(model)
        if value is None:
            cells.append(Cell("–", "none"))
            continue
        signs, kinds = [], []
        if found is not None and found.best == model:
            signs.append(BEST)
            kinds.append("best")
        if found is not None and model in found.level:
            signs.append(LEVEL)
            kinds.append("level")
        if baseline is not None and better(standing.metric, baseline, value):
            signs.append(LOSES)
            kinds.append("loses")
        cells.append(Cell(number(value), " ".join(kinds), tuple(signs)))
    return cells


def _metric(metric: str) -> str:
    return f"{metric_name(metric)} {'↑' if HIGHER_IS_BETTER.get(metric, True) else '↓'}"
