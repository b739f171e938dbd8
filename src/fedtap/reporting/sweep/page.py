"""The page of a sweep, and its tables as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.comparison.clients import Reports, runs_section
from fedtap.reporting.comparison.markdown import provenance_line
from fedtap.reporting.comparison.tables import SPLIT_NAMES
from fedtap.reporting.html.formatting import (
    NO_INTERVAL,
    between,
    family_name,
    human_bytes,
    human_seconds,
    listed,
    metric_name,
    number,
    signed,
    within,
)
from fedtap.reporting.html.grid import Grid
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.page import Section, made_with, page, section
from fedtap.reporting.html.tables import collapsed
from fedtap.reporting.html.templating import piece
from fedtap.reporting.sweep.series import Line, Mean, families, gain_at, lines, metric_at, scale_of
from fedtap.tasks.metrics.table import HIGHER_IS_BETTER

Values = Mapping[str, Any]


def sweep_page(result: Values, costs: Sequence[Values], reports: Reports | None = None) -> str:
    """Return the page of a sweep.

    Parameters
    ----------
    result
        What sweep.json holds.
    costs
        The rows of costs.json.
    reports
        Where the reports of its runs are, by setting.
    """
    config = json.dumps(result["config"], indent=2, ensure_ascii=False)
    return page(
        kind="Sweep",
        title=f"{result['scenario']} · {result['axes'][0]['key']}",
        heading=str(result["scenario"]),
        about=", ".join(f"{axis['key']} = {', '.join(axis['values'])}" for axis in result["axes"]),
        facts=made_with(result),
        figures=[(str(len(result["points"])), "settings"), (str(len(result["seeds"])), "seeds")],
        notice=_notice(result["incomplete"]),
        summary=("What the numbers say", sweep_sentences(result)),
        sections=[
            *_figures(result, costs),
            _tables(result, costs),
            runs_section([point["setting"] for point in result["points"]], result["seeds"], reports or {}),
            section("Setup", collapsed("The configuration at the first setting", piece("pre", config), 1, limit=0)),
        ],
        footer=("Written by fedtap from sweep.json and costs.json of this folder.",),
    )


def sweep_markdown(result: Values, costs: Sequence[Values]) -> str:
    """Return a sweep as Markdown; the arguments are those of :func:`sweep_page`."""
    swept = "; ".join(f"{axis['key']} = {', '.join(axis['values'])}" for axis in result["axes"])
    parts = [
        f"# Sweep: {result['scenario']}, {swept}",
        f"Seeds {', '.join(map(str, result['seeds']))}. {provenance_line(result)}",
        *sweep_sentences(result),
    ]
    for grid in _grids(result, costs):
        parts += [f"## {grid.caption}", grid.markdown()]
    return "\n\n".join(parts) + "\n"


def sweep_sentences(result: Values) -> list[str]:
    """Return for each line where its gain is highest and lowest, and what is left out."""
    key, seeds = result["axes"][0]["key"], len(result["seeds"])
    told = []
    few = False
    for line in lines(result, gain_at("test")):
        few = few or any(mean[1] is None for mean in (*line.at.values(), line.everywhere) if mean is not None)
        if len(line.at) > 1:
            high, low = (pick(line.at, key=lambda value: line.at[value][0]) for pick in (max, min))
            told.append(
                f"{line.name}: the mean gain on own test data is highest at {key} = {high}, {_gain(line.at[high], seeds)}, and "
                f"lowest at {key} = {low}, {_gain(line.at[low], seeds)}{_apart(line.at[high], line.at[low])}."
            )
        elif line.everywhere is not None:
            told.append(f"{line.name}, whatever {key} is: {_gain(line.everywhere, seeds)}.")
    if not told:
        told.append("No gains are given: the clients differ from setting to setting, and no --base was named.")
    else:
        over = f"{result['base']} at the same setting" if result["base"] else "the first setting"
        told.append(f"Gains are relative to {over}.")
    if few:
        told.append("Where no interval is given, fewer than five clients have results.")
    if result["incomplete"]:
        told.append(
            f"Left out, since their runs are not complete: {listed([row['setting'] for row in result['incomplete']], 30)}."
        )
    return told


def _gain(mean: Mean, seeds: int) -> str:
    return f"{signed(mean[0])} %" + (f" ({between(mean[1], seeds=seeds)})" if mean[1] else "")


def _apart(high: Mean, low: Mean) -> str:
    if not high[1] or not low[1]:
        return ""
    return "; their intervals do not overlap" if high[1][0] > low[1][1] else "; their intervals overlap"


def _notice(incomplete: Sequence[Values]) -> Markup:
    if not incomplete:
        return Markup()
    items = piece("bullets", [(row["setting"], row["why"]) for row in incomplete])
    return piece("notice", "Left out, since not all of their runs are there:", items)


def _figures(result: Values, costs: Sequence[Values]) -> list[Section | None]:
    from fedtap.reporting.sweep.figures import sweep_figure  # matplotlib takes a second

    scale = scale_of(result["axes"][0])
    made: list[Section | None] = []
    gains = {SPLIT_NAMES[split]: lines(result, gain_at(split)) for split in SPLIT_NAMES}
    gains = {name: found for name, found in gains.items() if any(line.at for line in found)}
    over = "clients; there is one seed" if len(result["seeds"]) == 1 else "clients and seeds"
    note = (
        f"Bars and bands are 95 % intervals over {over}; a dashed line does not depend on the setting. A mark without a bar: "
        "fewer than five clients have results there."
    )
    if gains:
        figure = sweep_figure(gains, scale, "Mean gain by setting", zero=True)
        over = f"over {result['base']}" if result["base"] else "over the first setting"
        made.append(section(f"Mean gain, % {over}", piece("note", note), piece("figure", figure)))
    panels = {
        f"{family_name(family)}, {metric_name(metric)} {_arrow(metric)}": lines(
            result, metric_at("test", family, metric)
        )
        for family, metric in families(result, "test")
    }
    if panels:
        figure = sweep_figure(panels, scale, "Metric of each family by setting")
        made.append(section("Families of tasks, own test data", piece("note", note), piece("figure", figure)))
    made.append(section("Cost", piece("figure", sweep_figure(_costs(result, costs), scale, "Cost by setting"))))
    return made


def _costs(result: Values, costs: Sequence[Values]) -> dict[str, list[Line]]:
    """Return bytes of a run as lines, and seconds where they are known."""
    seconds = {row["method"]: row["seconds"] for row in costs if row.get("seconds") is not None}

    def moved(point: Values) -> Mean | None:
        return (point["costs"]["bytes_down"] + point["costs"]["bytes_up"]) / 1e6, None

    def spent(point: Values) -> Mean | None:
        return (seconds[point["setting"]], None) if point["setting"] in seconds else None

    known = {"seconds, one thread": lines(result, spent)} if seconds else {}
    return {"MB down and up": lines(result, moved), **known}


def _tables(result: Values, costs: Sequence[Values]) -> Section | None:
    gains, *others = _grids(result, costs)
    return section("Tables", gains.html(), *(grid.html() for grid in others))


def _grids(result: Values, costs: Sequence[Values]) -> list[Grid]:
    """Return gains and costs, and families, a row a setting."""
    splits = [split for split in SPLIT_NAMES if any(split in point["splits"] for point in result["points"])]
    measured = {row["method"]: row for row in costs}
    seeds = len(result["seeds"])
    found: tuple[list[Mean], list[Mean]] = ([], [])
    gains, metrics = [], []
    columns = families(result, "test")
    for point in result["points"]:
        cells = [point["setting"]]
        for split in splits:
            mean = gain_at(split)(point)
            cells.append("–" if mean is None else f"{signed(mean[0])} ({between(mean[1], seeds=seeds)})")
            found[0].extend([mean] if mean else [])
        cost = measured.get(point["setting"], {})
        moved = point["costs"]["bytes_down"] + point["costs"]["bytes_up"]
        seconds = human_seconds(cost["seconds"]) if cost else "–"
        gains.append(
            [*cells, str(point["clients"]), f"{point['costs']['steps_total']:,.0f}", human_bytes(moved), seconds]
        )
        means = [metric_at("test", family, metric)(point) for family, metric in columns]
        found[1].extend(mean for mean in means if mean)
        metrics.append(
            [
                point["setting"],
                *("–" if mean is None else f"{number(mean[0])} ({within(mean[1], seeds=seeds)})" for mean in means),
            ]
        )
    over = f"over {result['base']}" if result["base"] else "over the first setting"
    head = ["setting", *(f"gain, %, {SPLIT_NAMES[split]}" for split in splits), "clients", "steps", "bytes", "time"]
    named = [f"{family_name(family)}, {metric_name(metric)} {_arrow(metric)}" for family, metric in columns]
    notes = [NO_INTERVAL if any(ends is None for _, ends in means) else "" for means in found]
    return [
        Grid(f"Mean gain {over} with 95 % intervals, and the cost of a run", head, gains, note=notes[0]),
        Grid(
            "Means over client-tasks and seeds with 95 % intervals, own test data",
            ["setting", *named],
            metrics,
            note=notes[1],
        ),
    ]


def _arrow(metric: str) -> str:
    return "↑" if HIGHER_IS_BETTER.get(metric, True) else "↓"
