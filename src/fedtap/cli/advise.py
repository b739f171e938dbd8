"""``fedtap advise``: pilots on one's own federation, then which method it should use, and what it took to know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtap.cli.options import Device, Jobs, OutFolder, ScenarioFile, Settings, seeds_of
from fedtap.cli.screen import examples, say

EXAMPLES = examples(
    "fedtap advise mine.yaml --out runs/advice",
    "fedtap advise quickstart --methods local,fedavg_ft,tap_best,mine.py --seeds 0,1,2,3 -o runs/four",
    "fedtap advise quickstart --budget 20 -o runs/cheap",
)


def advise(
    scenario: ScenarioFile,
    out: OutFolder,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            "-m",
            metavar="A,B,...",
            help="Methods to choose among, as for `fedtap compare`; by default local, fedavg, fedavg_ft, fedper, choice, tap, "
            "tap_best and the scenario's own.",
        ),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            metavar="0,1,...",
            help="Seeds that may be used, in this order: three at first, then twice as many, and so on.",
        ),
    ] = "0,1,2,3,4,5",
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget", metavar="RUNS", min=1, help="Runs that there may be in all; by default as many as it takes."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="POINTS",
            help="Methods are level where their gains surely differ by less than so many points of percent.",
        ),
    ] = 1.0,
    settings: Settings = None,
    jobs: Jobs = None,
    device: Device = "auto",
) -> None:
    """Say which method a federation should use, from pilots on it, or that nothing tells the best apart; write OUT/advice.md.

    All methods run with three seeds; those behind the first by more than noise are out, the others run with twice as many, and so
    on. Runs are whole runs, as `fedtap compare` makes them in OUT, which can go on from them; the same command goes on where it
    was interrupted.
    """
    import fedtap
    from fedtap.cli.watching import watching

    with watching(out) as watch:
        result = fedtap.advise(
            scenario,
            methods,
            out=out,
            seeds=seeds_of(seeds),
            budget=budget,
            tolerance=tolerance,
            overrides=settings or [],
            jobs=jobs,
            device=device,
            observers=[watch],
        )
    show_advice(result, result.summary)
    _say_where(out)


def show_advice(result: dict[str, Any], sentences: list[str]) -> None:
    """Show the table, what its columns mean, and then the advice and all that belongs to it."""
    from rich.text import Text

    from fedtap.cli.screen import screen, show_table
    from fedtap.reporting.advice.tables import advice_grid, column_notes
    from fedtap.runtime.text import neutral_lines

    grid = advice_grid(result)
    rows = [[Text(cell, style="bold green" if row[0] == result["use"] else "") for cell in row] for row in grid.rows]
    show_table(grid.head, rows, title=grid.caption, numeric_from=grid.numeric_from)
    for line in column_notes(result):
        say(line)
    say("")
    first, *others = sentences
    screen().print(Text(neutral_lines(first), style="bold"), soft_wrap=True)
    for sentence in others:
        say(sentence)


def _say_where(out: Path) -> None:
    say(f"Advice: {out / 'advice.md'}; all numbers: {out / 'advice.json'}")
    say(f"Page of the last rung's methods: {out / 'comparison.html'}")
