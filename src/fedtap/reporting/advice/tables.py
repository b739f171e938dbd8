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
    head = ["method", "standing", "seeds", "gain, %", "95 % interval", f"hurt / {base}"]
    if yardstick:
        head.append(f"hurt / {yardstick}")
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
    return Grid(
        f"Mean relative gain over {base} on the clients' own test data", head, body, 2, note=_note(result, rows)
    )


def _note(result: Values, rows: list[Values]) -> str:
    base, yardstick = result["base"], result["yardstick"]
    told = [
        "standing: against the one that is first where the method was last looked at; behind: by more than noise; level: surely "
        f"within {result['tolerance']:g} points; open: neither is shown.",
        f"hurt: clients that are worse off than with {base}"
        + (f" or with {yardstick}, over the seeds that both have" if yardstick else "")
        + "; chance is not taken out, so that of two equal methods each hurts about half.",
        f"steps: local steps of a run, relative to {base}."
        + (f" bytes: sent in a run, relative to {yardstick}." if yardstick else ""),
    ]
    if any(row["delta_percent"] is not None and row["ci95"] is None and row["method"] != base for row in rows):
        told.append(NO_INTERVAL)
    return " ".join(told)


def _share(hurt: list[int] | None) -> str:
    return "–" if hurt is None else f"{hurt[0]} of {hurt[1]}"


def _times(value: float, base: float) -> str:
    return f"{value / base:.2f}" if base else "–"
