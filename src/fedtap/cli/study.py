"""``fedtap study``: studies that the project makes of itself, to be made again by anybody."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtap.cli.options import Jobs, OutFolder, Seeds, numbers_of, seeds_of
from fedtap.cli.screen import examples, say

app = typer.Typer(
    help="Studies that the project makes of itself: what modality-task pairs cost (pairs).",
    epilog=examples("fedtap study pairs -o runs/pairs", "fedtap study pairs --quick -o runs/quick-pairs"),
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    no_args_is_help=True,
)


@app.callback()
def study() -> None:
    """Make a study again: what modality-task pairs cost (pairs)."""


@app.command(
    "pairs",
    epilog=examples(
        "fedtap study pairs --problems synthetic -o runs/pairs",
        "fedtap study pairs --problems plain,experts --pairs 1,4,8 --lengths T1,T1/pi --seeds 0,1,2 -o runs/real-pairs",
        "fedtap study pairs --quick -o runs/quick-pairs",
    ),
)
def pairs(
    out: OutFolder,
    problems: Annotated[
        str,
        typer.Option("--problems", metavar="A,B", help="Of synthetic, plain and experts (real tasks, either network)."),
    ] = "synthetic,plain,experts",
    kinds: Annotated[
        str,
        typer.Option("--kinds", metavar="A,B", help="Pairs that are unlike (a task each), alike (one task), or both."),
    ] = "unlike,alike",
    numbers: Annotated[
        str, typer.Option("--pairs", metavar="1,2,...", help="Numbers of pairs: 1, and powers of 2 up to 16.")
    ] = "1,2,4,8,16",
    lengths: Annotated[
        str,
        typer.Option(
            "--lengths",
            metavar="A,B",
            help="T1 rounds whatever K, T1/pi (equal updates), T1K (equal turns of a client).",
        ),
    ] = "T1,T1/pi,T1K",
    seeds: Seeds = "0,1,2,3,4",
    tasks: Annotated[
        int, typer.Option("--tasks", metavar="N", help="How many unlike real tasks are served at every K: 2, 4 or 8.")
    ] = 8,
    quick: Annotated[
        bool, typer.Option("--quick", help="A size that shows that it works, in a minute, and no more.")
    ] = False,
    jobs: Jobs = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or another device of torch.")] = "auto",
) -> None:
    """Say how much of what K pairs cost the server's model is coverage, lost averaging, sharing; write OUT/pairs.html.

    Federations of K pairs are trained with a trunk that all share and with a copy a pair, for equal rounds and for equal updates.
    The same command goes on where it was interrupted, and more seeds, pairs, lengths or problems may be added to it.
    """
    import fedtap
    from fedtap.cli.watching import say_where, watching
    from fedtap.reporting.pairs.page import pairs_sentences

    with watching(out) as watch:
        result = fedtap.study_pairs(
            out=out,
            problems=problems.split(","),
            kinds=kinds.split(","),
            pairs=numbers_of("--pairs", numbers),
            lengths=lengths.split(","),
            seeds=seeds_of(seeds),
            tasks=tasks,
            quick=quick,
            jobs=jobs,
            device=device,
            observers=[watch],
        )
    for sentence in pairs_sentences(result):
        say(sentence)
    say_where(out, "pairs")
