"""The tables of a comparison: gains, families, tests against one method, costs. From the values of comparison.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedtap.metrics.table import HIGHER_IS_BETTER
from fedtap.reporting.html.formatting import (
    NO_INTERVAL,
    between,
    family_name,
    human_bytes,
    human_seconds,
    metric_name,
    number,
    p_value,
    signed,
    within,
)
from fedtap.reporting.html.grid import Best, Grid
from fedtap.reporting.run.standings import best_of

Values = Mapping[str, Any]
LEVEL = 0.05
SPLIT_NAMES = {"test": "own test data", "cross": "other clients' test data", "unseen": "held-out clients"}


def ranked(delta: Sequence[Values]) -> list[Values]:
    """Return rows by mean gain, the highest first; those without one last."""
    return sorted(delta, key=lambda row: (row["delta_percent"] is None, -(row["delta_percent"] or 0), row["method"]))


def with_share(row: Values) -> str:
    """Return a method's name and, where it does not serve every task, how many of the client-tasks it does."""
    if row["client_tasks"] == row["of"]:
        return str(row["method"])
    return f"{row['method']} ({row['client_tasks']} of {row['of']} tasks)"


def gains_grid(split: Values, name: str, base: str) -> Grid:
    """Return the gains of every method on a split, the highest first, with how they are spread."""
    without = {row["method"]: row for row in split.get("without_reconstruction", {}).get("delta", [])}
    rows = ranked(split["all"]["delta"])
    first = stands_out(split)
    head = ["method", "gain, %", "95 % interval"]
    head += ["without reconstruction, %"] if without else []
    head += ["wins / losses / draws", "worst tenth, %"]
    body = []
    for row in rows:
        gain = signed(row["delta_percent"])
        cells = [
            row["method"],
            Best(gain) if row["method"] == first else gain,
            between(row["ci95"], seeds=row["seeds"]),
        ]
        if without:
            other = without.get(row["method"])
            cells.append(
                f"{signed(other['delta_percent'])} ({between(other['ci95'], seeds=other['seeds'])})" if other else "–"
            )
        draws = row["n"] - row["wins"] - row["losses"]
        cells += [f"{row['wins']} / {row['losses']} / {draws}", signed(row["worst_decile"])]
        body.append(cells)
    note = dashes([*rows, *without.values()], "delta_percent")
    return Grid(f"Mean relative gain over {base} on {name}", head, body, note=note)


def stands_out(split: Values) -> str | None:
    """Return the method that is ahead of every other on a split by more than chance, the base too; None where none is."""
    scope = split["all"]
    whole = [row for row in ranked(scope["delta"]) if _whole(row)]
    if not whole:
        return None
    first, tests = str(whole[0]["method"]), scope["against"]
    others = {str(row["method"]) for row in scope["delta"]} - {first}
    if {str(row["against"]) for row in tests} != {first} or not others <= {str(row["method"]) for row in tests}:
        return None  # it was tested against another one
    ahead = all(
        row["p_holm"] is not None and row["p_holm"] < LEVEL and row["difference"] is not None and row["difference"] < 0
        for row in tests
    )
    return first if ahead else None


def apart(result: Values) -> frozenset[str]:
    """Return the methods that can be told from the one that all are tested against, on own test data: 5 %, Holm's correction."""
    tests = result["splits"]["test"]["all"]["against"]
    return frozenset(
        str(row["method"]) for row in tests if row["p_holm"] is not None and row["p_holm"] < LEVEL and row["difference"]
    )


def family_grid(split: Values, methods: Sequence[str], name: str) -> Grid:
    """Return the mean of each family's primary metric, a row a method, a column a family, the best of each marked."""
    rows = [row for row in split["rows"] if row["primary"]]
    columns = list(dict.fromkeys((row["family"], row["metric"]) for row in rows))
    values = {
        column: {row["method"]: row["mean"] for row in rows if (row["family"], row["metric"]) == column}
        for column in columns
    }
    best = {column: best_of(values[column], column[1]) for column in columns}
    trivial = {(row["family"], row["metric"]): row["mean"] for row in split["baselines"]}
    body: list[list[str]] = []
    if trivial:
        body.append(["trivial baseline", *(number(trivial.get(column)) for column in columns)])
    for method in methods:
        cells: list[str] = []
        for column in columns:
            shown = number(values[column].get(method))
            cells.append(Best(shown) if method in best[column] and len(values[column]) > 1 else shown)
        body.append([method, *cells])
    head = ["method", *(f"{family_name(family)}, {metric_name(metric)} {_arrow(metric)}" for family, metric in columns)]
    return Grid(f"Mean over client-tasks and seeds, {name}", head, body)


def every_metric_grid(split: Values, name: str) -> Grid:
    """Return every metric of every family, with its interval."""
    body = [
        [
            row["method"],
            f"{family_name(row['family'])} ({', '.join(row['tasks'])})",
            f"{metric_name(row['metric'])} {_arrow(row['metric'])}",
            number(row["mean"]),
            within(row["ci95"], seeds=row["seeds"]),
            str(row["client_tasks"]),
        ]
        for row in split["rows"]
    ]
    head = ["method", "family (tasks)", "metric", "mean", "95 % interval", "client-tasks"]
    return Grid(f"Every metric, {name}", head, body, numeric_from=3, note=dashes(split["rows"], "mean"))


def paired_grid(tests: Sequence[Values], caption: str, *, seeds: int, pairs: bool = False) -> Grid:
    """Return paired differences with their p-values, before and after Holm's correction; ``seeds`` is how many there are."""
    ordered = sorted(tests, key=lambda row: (row["difference"] is None, -(row["difference"] or 0), row["method"]))
    body = []
    for row in ordered:
        names = [row["method"], row["against"]] if pairs else [row["method"]]
        cells = [
            signed(row["difference"]),
            between(row["ci95"], seeds=seeds),
            p_value(row["p"]),
            p_value(row["p_holm"]),
        ]
        body.append([*names, *cells, f"{row['wins']} / {row['losses']} / {row['n'] - row['wins'] - row['losses']}"])
    head = ["method", *(["against"] if pairs else []), "difference, points", "95 % interval", "p", "p (Holm)"]
    note = dashes(tests, "difference")
    return Grid(caption, [*head, "wins / losses / draws"], body, numeric_from=2 if pairs else 1, note=note)


def dashes(rows: Iterable[Values], mean: str) -> str:
    """Return why there is a mean without an interval among rows, or nothing where there is none; ``mean`` is the mean's key."""
    return NO_INTERVAL if any(row[mean] is not None and row["ci95"] is None for row in rows) else ""


def cost_grid(costs: Sequence[Values], base: str) -> Grid:
    """Return what a run of each method costs, mean over seeds."""
    steps = {row["method"]: row["steps_total"] for row in costs}
    body = [
        [
            row["method"],
            f"{row['steps_total']:,.0f}",
            f"{row['steps_total'] / steps[base]:.2f}" if steps.get(base) else "–",
            human_seconds(row["seconds"]) if row.get("seconds") is not None else "–",
            human_bytes(row["bytes_down"]),
            human_bytes(row["bytes_up"]),
            human_bytes(row["peak_rss_bytes"]) if row.get("peak_rss_bytes") else "–",
        ]
        for row in costs
    ]
    head = ["method", "local steps", f"steps / {base}", "time", "bytes down", "bytes up", "peak memory"]
    return Grid("A run's cost, mean over seeds, one thread", head, body)


def _whole(row: Values) -> bool:
    return row["delta_percent"] is not None and bool(row["client_tasks"] == row["of"])


def _arrow(metric: str) -> str:
    return "↑" if HIGHER_IS_BETTER.get(metric, True) else "↓"
