"""The page of a study of regimes, and its tables as Markdown: when which way of personalizing pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.comparison.markdown import provenance_line
from fedtap.reporting.html.formatting import plural
from fedtap.reporting.html.grid import Best, Grid
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.page import made_with, page, section
from fedtap.reporting.html.templating import piece
from fedtap.reporting.regimes.map_figure import Panel, map_figure

Values = Mapping[str, Any]
BETTER = "better single"
BASE, FINETUNED = "local", "fedavg_ft"
LEVEL = 0.05
NOTE = (
    "Points over local training on own test data: for accuracy and exact match the plain difference times 100, for losses the "
    "relative gain in percent; in brackets 95 % intervals over clients and seeds."
)
NOTE_BETTER = (
    "The better single of a point is whichever of local and fedavg_ft has the higher mean there; it is picked after the runs, in "
    "favour of the rival."
)
NOTE_TOY = (
    "Eight clients with linear regression in 20 features, 20 seeds: excess risk in percent of that of the better of local and "
    "fedavg_ft, above 0 where it is lower."
)


def regimes_page(result: Values) -> str:
    """Return the page of a study; ``result`` is what regimes.json holds."""
    return page(
        kind="Study",
        title="regimes",
        heading="When personalization pays, and which",
        about=f"{len(result['points'])} federations, {len(result['methods'])} methods, network of {result['network']}"
        if result["network"] == "experts"
        else f"{len(result['points'])} federations, {len(result['methods'])} methods, plain network",
        facts=made_with(result),
        figures=[(str(len(result["points"])), "federations"), (str(len(result["seeds"])), "seeds")],
        notice=_notice(result),
        summary=("What the numbers say", regimes_sentences(result)),
        sections=[
            section("The map", *_maps(result)),
            section("All points together", *(grid.html() for grid in over_grids(result))),
            section("Point by point", *(grid.html() for grid in point_grids(result))),
            section("A linear toy", *_toy(result)),
        ],
        footer=("Written by fedtap from regimes.json of this folder.",),
    )


def regimes_markdown(result: Values) -> str:
    """Return a study as Markdown."""
    parts = [
        "# Study of regimes",
        f"Seeds {', '.join(map(str, result['seeds']))}, network {result['network']}. {provenance_line(result)}",
        *regimes_sentences(result),
        NOTE,
        NOTE_BETTER,
    ]
    for grid in (*over_grids(result), *point_grids(result)):
        parts += [f"## {grid.caption}", grid.markdown()]
    return "\n\n".join(parts) + "\n"


def regimes_sentences(result: Values) -> list[str]:
    """Return for each point who leads and who cannot be told from the leader, then each method over all points."""
    told = []
    for point in result["points"]:
        rows = sorted((row for row in point["rows"] if row["method"] != "federated"), key=_gain, reverse=True)
        best = rows[0]
        level = [row["method"] for row in rows[1:] if not _beyond(_between(point, best["method"], row["method"]))]
        beside = f"; not told apart from it: {', '.join(level)}" if level else ""
        told.append(f"{_capital(point['about'])}: {best['method']} has the highest mean ({_gain(best):+.1f}){beside}.")
    told += [
        f"Over {plural(len(result['counted']), 'point')} {row['method']} is {_pm(row)} points from {FINETUNED}, at the least "
        f"{row['worst']:+.1f} "
        f"({row['worst_at']})."
        for row in result["over"]
        if row["against"] == FINETUNED and row["method"] not in (BASE, FINETUNED, "federated")
    ]
    if result["quick"]:
        told.append("This is the quick size: it shows that everything works, and its numbers mean nothing.")
    return told


def point_grids(result: Values) -> list[Grid]:
    """Return a table for each point: gains, differences from the rivals, who is hurt."""
    made = []
    for point in result["points"]:
        rivals = _rivals(point["rows"])
        rows = sorted(point["rows"], key=_gain, reverse=True)
        best = _clear_of_all(point)
        lines = []
        for row in rows:
            gain = "–" if row["method"] == BASE else f"{_gain(row):+.1f}{_interval(row)}"
            lines.append(
                [
                    row["method"],
                    Best(gain) if row["method"] == best else gain,
                    *(_difference(row["against"].get(name)) for name in rivals),
                    *(_share(row["hurt"].get(name)) for name in (BASE, "federated")),
                ]
            )
        head = [
            "method",
            "points over local",
            *(f"less {name}" for name in rivals),
            "worse than local",
            "worse than federated",
        ]
        note = (
            f"{point['clients']} clients, {point['client_tasks']} client-tasks; the better single here is "
            f"{rows[0]['better']}. An asterisk: p below 0.05 after Holm's correction over the points. The last two columns are "
            "shares of clients. A star: ahead of all others, each by such a test."
        )
        made.append(Grid(f"{point['point']}: {point['about']}", head, lines, 1, note))
    return made


def over_grids(result: Values) -> list[Grid]:
    """Return the table of differences over all points."""
    lines = [
        [
            row["method"],
            row["against"],
            _pm(row),
            "–" if row["p"] is None else f"{row['p']:.3f}",
            f"{row['worst']:+.1f}",
            row["worst_at"],
        ]
        for row in result["over"]
        if row["method"] != "federated"
    ]
    head = ["method", "against", "difference", "p", "worst point", "which"]
    note = f"Every point counts alike: {', '.join(result['counted'])}."
    return [Grid("Differences averaged over the points", head, lines, 2, note)] if lines else []


def _maps(result: Values) -> list[Markup]:
    cells = [point for point in result["points"] if point["cell"]]
    if not cells:
        return []
    panels = []
    for method in (method for method in result["methods"] if method not in (BASE, FINETUNED)):
        found = {}
        for point in cells:
            test = _between(point, method, BETTER)
            if test is not None and test["difference"] is not None:
                found[point["conflict"], point["examples"]] = (test["difference"], _beyond(test))
        if found:
            panels.append(Panel(method, found))
    title = "Gain over the better of local and fedavg_ft"
    note = (
        f"{NOTE} {NOTE_BETTER} Blue and above 0: ahead. Bold: p below 0.05 after Holm's correction. The line is where the sign "
        "changes."
    )
    return [piece("note", note), piece("figure", map_figure(panels, title, "in points"))] if panels else []


def _toy(result: Values) -> list[Markup]:
    panels = []
    for method in ("choice", "tap, training losses", "tap, validation"):
        found = {}
        for cell in result["toy"]:
            best = min(cell["risk"][BASE], cell["risk"][FINETUNED])
            found[cell["conflict"], cell["examples"]] = (100 * (best - cell["risk"][method]) / best, False)
        panels.append(Panel(method, found))
    return [
        piece("note", NOTE_TOY),
        piece("figure", map_figure(panels, "The same map of a linear toy", "in percent of the excess risk")),
    ]


def _rivals(rows: Sequence[Values]) -> list[str]:
    """Return whom the methods of a point are set against, in one order; local is left out, since all points are over it."""
    known = {name for row in rows for name in row["against"]}
    return [name for name in (FINETUNED, "fedper", "choice", BETTER) if name in known]


def _clear_of_all(point: Values) -> str:
    """Return the method that is ahead of every other of its point beyond noise, or nothing."""
    rows = sorted((row for row in point["rows"] if row["method"] != "federated"), key=_gain, reverse=True)
    first, *others = [row["method"] for row in rows]
    return first if others and all(_beyond(_between(point, first, other)) for other in others) else ""


def _between(point: Values, method: str, rival: str) -> Values | None:
    """Return the test between two methods of a point, whichever of them it stands with."""
    by = {row["method"]: row["against"] for row in point["rows"]}
    found: Values | None = by.get(method, {}).get(rival) or by.get(rival, {}).get(method)
    return found


def _beyond(test: Values | None) -> bool:
    return test is not None and test.get("p_holm") is not None and test["p_holm"] < LEVEL


def _gain(row: Values) -> float:
    return 0.0 if row["gain"] is None else float(row["gain"])


def _interval(row: Values) -> str:
    return f" ({row['ci95'][0]:+.1f} to {row['ci95'][1]:+.1f})" if row["ci95"] else ""


def _difference(test: Values | None) -> str:
    if test is None or test["difference"] is None:
        return "–"
    return f"{test['difference']:+.1f}{_interval(test)}{'*' if _beyond(test) else ''}"


def _pm(row: Values) -> str:
    return f"{row['difference']:+.1f}{_interval(row)}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _notice(result: Values) -> Markup:
    if not result["incomplete"]:
        return Markup()
    items = [(f"{row['point']}, {row['method']}", row["why"]) for row in result["incomplete"]]
    return piece("notice", "Left out, since they did not end well:", piece("bullets", items))
