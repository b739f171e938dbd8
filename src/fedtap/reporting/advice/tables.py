"""The one table of advice: a row a method, how it stands, whom it hurts, what it asks. From the values of advice.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedtap.reporting.html.formatting import NO_INTERVAL, between, human_bytes, signed
from fedtap.reporting.html.grid import Grid

Values = Mapping[str, Any]


def advice_grid(result: Values) -> Grid:
    """Return what the pilots found: methods by mean gain, the highest first."""
    base, yardstick = str(result["base"]), result["yardstick"]
    rows = result["rows"]
    over = {row["method"]: row for row in rows}
    head = ["method", "standing", "seeds", "gain, %", "95 % interval", "hurt"]
    if yardstick:
        head.append("hurt, fed.")
    head += ["steps", "bytes"]
    body = []
    for row in rows:
        of_base = row["method"] == base
        cells = [
            str(row["method"]),
            str(row["standing"]),
            str(row["seeds"]),
            signed(row["delta_percent"]),
            "the base" if of_base else between(row["ci95"], seeds=row["seeds"]),
            _share(row["hurt_base"]),
        ]
        if yardstick:
            cells.append(_share(row["hurt_yardstick"]))
        cells += [_times(row["steps"], over[base]["steps"]) if base in over else f"{row['steps']:,.0f}"]
        sent = over[yardstick]["bytes"] if yardstick in over else 0
        cells += [_times(row["bytes"], sent) if sent else human_bytes(row["bytes"])]
        body.append(cells)
    caption = f"Mean relative gain over {base} on the clients' own test data"
    return Grid(caption, head, body, 2, note=" ".join(column_notes(result)))


def column_notes(result: Values) -> list[str]:
    """Return what a reader must know to read the columns, a line each."""
    base, yardstick = result["base"], result["yardstick"]
    told = [
        "standing: against the one that is first, where the method was last looked at. behind: by more than noise; unlikely: "
        f"by its own interval alone; level: surely within {points(result['tolerance'])}; open: none of these.",
        f"hurt: clients that are worse off than with {base}"
        + (f"; hurt, fed.: than with {yardstick}, over the seeds that both have" if yardstick else "")
        + ". Chance is not taken out: of two equal methods each hurts about half.",
        f"steps: local steps of a run, relative to {base}."
        + (f" bytes: sent in a run, relative to {yardstick}." if yardstick else ""),
    ]
    others = [row for row in result["rows"] if row["method"] != base]
    if any(row["delta_percent"] is not None and row["ci95"] is None for row in others):
        told.append(NO_INTERVAL)
    return told


def points(number: float) -> str:
    """Return points of percent in words.

    >>> points(1), points(0.5)
    ('1 point', '0.5 points')
    """
    return f"{number:g} point{'' if number == 1 else 's'}"


def _share(hurt: list[int] | None) -> str:
    return "–" if hurt is None else f"{hurt[0]} of {hurt[1]}"


def _times(value: float, base: float) -> str:
    return f"{value / base:.2f}" if base else "–"
