"""The page of a comparison: one HTML file, in the style of a run's report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.comparison.clients import Reports, clients_section, runs_section
from fedtap.reporting.comparison.summary import comparison_figures, comparison_sentences
from fedtap.reporting.comparison.tables import (
    SPLIT_NAMES,
    apart,
    cost_grid,
    dashes,
    every_metric_grid,
    family_grid,
    gains_grid,
    paired_grid,
    ranked,
)
from fedtap.reporting.html.formatting import listed, plural
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.page import Section, made_with, page, section
from fedtap.reporting.html.tables import collapsed
from fedtap.reporting.html.templating import piece

Values = Mapping[str, Any]
SCOPES = ("all", "without_reconstruction")


def comparison_page(
    result: Values, costs: Sequence[Values], reports: Reports | None = None, headline: Sequence[str] = ()
) -> str:
    """Return the page of a comparison.

    Parameters
    ----------
    result
        What comparison.json holds.
    costs
        The rows of costs.json.
    reports
        Where the reports of its runs are.
    headline
        What the comparison was made for, and what came of it: a sentence, and others in smaller letters.
    """
    order = [str(row["method"]) for row in ranked(result["delta"])]
    return page(
        kind="Comparison of methods",
        title=f"{result['scenario']} · comparison",
        heading=str(result["scenario"]),
        about=str(result["config"].get("about") or ""),
        facts=made_with(result),
        figures=comparison_figures(result),
        notice=_notice(result["incomplete"]),
        headline=headline,
        summary=("What the numbers say", comparison_sentences(result)),
        sections=[
            _forest(result),
            _ranks(result),
            _trade(result),
            _spent(result, costs),
            *(_gains(result, split) for split in result["splits"]),
            _families(result),
            _tests(result),
            clients_section(result.get("clients") or [], order, result["base"]),
            section("Cost", cost_grid(costs, result["base"]).html()),
            runs_section([result["base"], *order], result["seeds"], reports or {}),
            _setup(result),
        ],
        footer=("Written by fedtap from comparison.json and costs.json of this folder.",),
    )


def _notice(incomplete: Sequence[Values]) -> Markup:
    if not incomplete:
        return Markup()
    items = piece("bullets", [(row["method"], row["why"]) for row in incomplete])
    text = "Left out, since not all of their runs are there; all others are compared on the same seeds. "
    return piece("notice", text, items)


def _forest(result: Values) -> Section | None:
    from fedtap.reporting.comparison.figures import forest_figure  # matplotlib takes a second

    one = len(result["seeds"]) == 1
    over = "clients; with one seed they say nothing of other seeds" if one else "clients and seeds together"
    note = (
        f"Relative gain over {result['base']} on the metric that counts for each task, sign-aware (more is better), averaged "
        f"over client-tasks and seeds. Lines are 95 % intervals, bootstrapped over {over}. {_lineless(result)}"
    ).rstrip()
    return section(
        "Gains with their intervals",
        piece("note", note),
        piece("figure", forest_figure(result["splits"], result["base"], seeds=len(result["seeds"]))),
    )


def _ranks(result: Values) -> Section | None:
    ranks = result.get("ranks") or []
    if len(ranks) < 3:
        return None
    from fedtap.reporting.comparison.figures import rank_figure

    against = str(result["against"])
    note = (
        f"Rank 1 is the best method on a client's task with one seed, {len(ranks)} the worst; equal ones share. The mean over "
        "client-tasks and seeds, with 95 % intervals, bootstrapped as above, of the methods that serve every task. Ranks say how "
        "often a method is ahead and not by how much, so that their order may be another than that of the gains. "
        f"{_levels(result, ranks, against)}"
    )
    return section(
        "Ranks",
        piece("note", note.rstrip()),
        piece("figure", rank_figure(ranks, apart(result), seeds=len(result["seeds"]))),
    )


def _levels(result: Values, ranks: Sequence[Values], against: str) -> str:
    """Return which methods can be told from the one that all are tested against: by the very tests of the tables below."""
    tested = {str(row["method"]) for row in result["splits"]["test"]["all"]["against"] if row["p_holm"] is not None}
    told = apart(result)
    others = [str(row["method"]) for row in ranks if row["method"] != against and row["method"] in tested]
    if not others:
        return ""
    level = [method for method in others if method not in told]
    far = [method for method in others if method in told]
    parts = [f"{listed(level)} cannot be told from {against}"] if level else []
    if far:
        parts.append(f"{listed(far)} can{'' if level else f' be told from {against}'} (hollow)")
    return f"By the paired tests of gains below, {' and '.join(parts)}; no test of ranks is made beside them."


def _lineless(result: Values) -> str:
    """Return why marks have no line, where some have none."""
    scopes = [values[scope] for values in result["splits"].values() for scope in SCOPES if scope in values]
    few = any(dashes(scope["delta"], "delta_percent") for scope in scopes)
    return "No line: fewer than five clients have results there." if few else ""


def _trade(result: Values) -> Section | None:
    cross = result["splits"].get("cross")
    if cross is None:
        return None
    from fedtap.reporting.comparison.figures import trade_figure

    note = (
        "To the right: better for the clients' own data. Upwards: better for data of other clients with the same tasks. Every "
        "step of personalization may cost some of the second. Thin lines are the intervals of the figure above."
    )
    figure = trade_figure(result["delta"], cross["all"]["delta"], seeds=len(result["seeds"]))
    return section("Personalization against generality", piece("note", note), piece("figure", figure))


def _spent(result: Values, costs: Sequence[Values]) -> Section | None:
    if not costs:
        return None
    from fedtap.reporting.comparison.figures import COSTS, cost_figure

    note = (
        "Upwards: better for the clients' own data. To the left: cheaper. Whoever has nobody above and to the left of it gives "
        "the most for its price; thin lines are 95 % intervals, and methods whose lines overlap may change places."
    )
    measures = [what for what in COSTS if what != "seconds" or all(row.get("seconds") is not None for row in costs)]
    drawn = [
        piece("figure", cost_figure(result["delta"], costs, result["base"], what, seeds=len(result["seeds"])))
        for what in measures
    ]
    return section("Cost against quality", piece("note", note), *drawn)


def _gains(result: Values, split: str) -> Section | None:
    values, name = result["splits"][split], SPLIT_NAMES[split]
    note = (
        f"A win is a client-task, with one seed, on which the method is better than {result['base']}. The worst tenth is the "
        "mean gain over the tenth of the client-tasks that gain least, each averaged over seeds first. ★ marks a method "
        "that is ahead of every other by more than chance (5 %, Holm's correction for all of them); without it none is."
    )
    return section(
        f"Gains: {name}",
        piece("note", note) if split == "test" else Markup(),
        gains_grid(values, name, result["base"]).html(),
    )


def _families(result: Values) -> Section | None:
    parts: list[Markup] = []
    for split, values in result["splits"].items():
        order = [result["base"], *(row["method"] for row in ranked(values["all"]["delta"]))]
        grid = family_grid(values, order, SPLIT_NAMES[split])
        parts.append(grid.html() if split == "test" else collapsed(grid.caption, grid.html(), 1, limit=0))
    every = [every_metric_grid(values, SPLIT_NAMES[split]) for split, values in result["splits"].items()]
    parts += [collapsed(f"{grid.caption} ({plural(len(grid.rows), 'row')})", grid.html(), 1, limit=0) for grid in every]
    note = (
        "★ marks the best mean of a column, whether or not that is more than chance. ↑ higher is better, ↓ lower is better. A "
        "dash: the method does not serve all of it."
    )
    return section("Families of tasks", piece("note", note), *parts)


def _tests(result: Values) -> Section | None:
    against = result["against"]
    note = (
        f"The difference of two methods' gains on the same client-tasks, in points of percent: positive is better than "
        f"{against}. p is of a t-test with clients and seeds as crossed random effects; Holm's correction is for all rows of a "
        f"table. {against} was picked on these very data where nobody named it, so that a small lead of it proves little."
    )
    seeds = len(result["seeds"])
    parts: list[Markup] = []
    for split, values in result["splits"].items():
        for scope in SCOPES:
            if scope not in values or not values[scope]["against"]:
                continue
            where = SPLIT_NAMES[split] + ("" if scope == "all" else ", without reconstruction")
            grid = paired_grid(values[scope]["against"], f"Against {against}, {where}", seeds=seeds)
            first = (split, scope) == ("test", "all")
            parts.append(grid.html() if first else collapsed(grid.caption, grid.html(), 1, limit=0))
    caption = "Every pair, own test data; Holm's correction over all of them"
    grid = paired_grid(result["pairs"], caption, seeds=seeds, pairs=True)
    parts.append(collapsed(f"{grid.caption} ({plural(len(grid.rows), 'pair')})", grid.html(), 1, limit=0))
    return section(f"Each method against {against}", piece("note", note), *parts)


def _setup(result: Values) -> Section | None:
    rows = [
        (
            method["method"],
            f"{method['summary']} ({method['source']}); model {method['deployed']}"
            + (f"; {_settings(method['settings'])}" if method["settings"] else ""),
        )
        for method in result["methods"]
    ]
    config = json.dumps(result["config"], indent=2, ensure_ascii=False)
    return section(
        "Setup",
        collapsed("Methods and their settings", piece("bullets", rows), 1, limit=0),
        collapsed("The configuration that all methods share", piece("pre", config), 1, limit=0),
    )


def _settings(settings: Values) -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
