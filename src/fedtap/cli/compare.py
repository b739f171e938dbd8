"""``fedtap compare``: methods times seeds, then one page that says which is better, and how surely."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fedtap.cli.options import Device, Jobs, OutFolder, ScenarioFile, Seeds, Settings, seeds_of
from fedtap.cli.screen import examples, say

EXAMPLES = examples(
    "fedtap compare quickstart --methods local,fedavg_ft,tap --seeds 0,1,2 --out runs/compare",
    "fedtap compare quickstart --methods tap,tap:distil=off,tap:gate=paired+scope=exclusive --out runs/ablations",
    "fedtap compare quickstart --methods all --seeds 0,1,2 --jobs 2 --out runs/all",
    "fedtap compare quickstart --methods fedavg_ft,mine.py --out runs/mine",
)


def compare(
    scenario: ScenarioFile,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            "-m",
            metavar="A,B,...",
            help="Methods, files with a method of your own, or all; settings of one alone after a colon: "
            "tap:gate=paired+distil=off.",
        ),
    ],
    out: OutFolder,
    seeds: Seeds = "0",
    settings: Settings = None,
    jobs: Jobs = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="LABEL", help="Test all others against this method; by default the best."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Run every method with every seed, compare them, and write OUT/comparison.html.

    Each run is a process of its own with one thread, in OUT/runs, so that the results do not depend on --jobs. Interrupt it at
    any time (Ctrl-C): the same command goes on, and does not run again what is finished. `local` is added where it is missing:
    gains are relative to it.
    """
    import fedtap
    from fedtap.cli.watching import say_where, watching

    with watching(out) as watch:
        result = fedtap.compare(
            scenario,
            methods,
            seeds=seeds_of(seeds),
            out=out,
            overrides=settings or [],
            jobs=jobs,
            device=device,
            against=against,
            observers=[watch],
        )
    show_gains(result)
    say_where(out, "comparison")


def show_gains(result: dict[str, Any]) -> None:
    """Show the gains on the clients' own test data, and what the numbers say."""
    from rich.text import Text

    from fedtap.cli.screen import show_table
    from fedtap.reporting.comparison.summary import comparison_sentences
    from fedtap.reporting.comparison.tables import SPLIT_NAMES, gains_grid
    from fedtap.reporting.html.grid import Best

    grid = gains_grid(result["splits"]["test"], SPLIT_NAMES["test"], result["base"])
    rows = [[Text(cell, style="bold green") if isinstance(cell, Best) else cell for cell in row] for row in grid.rows]
    show_table(grid.head, rows, title=grid.caption, numeric_from=1)
    if grid.note:
        say(grid.note)
    for sentence in comparison_sentences(result):
        say(sentence)
