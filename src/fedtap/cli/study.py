"""``fedtap study``: studies that the project makes of itself, to be made again by anybody."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtap.cli.options import Device, Jobs, OutFolder, Seeds, numbers_of, seeds_of, shares_of
from fedtap.cli.screen import examples, say

app = typer.Typer(
    help="Studies that the project makes of itself: what modality-task pairs cost (pairs), when personalization pays (regimes).",
    epilog=examples("fedtap study pairs -o runs/pairs", "fedtap study pairs --quick -o runs/quick-pairs"),
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    no_args_is_help=True,
)


@app.callback()
def study() -> None:
    """Make a study again: what modality-task pairs cost (pairs), when personalization pays (regimes)."""


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
    device: Device = "auto",
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


@app.command(
    "regimes",
    epilog=examples(
        "fedtap study regimes -o runs/regimes",
        "fedtap study regimes --points map --seeds 0,1,2 -o runs/map",
        "fedtap study regimes --points one-liar,vendors --methods local,fedavg_ft,choice,tap -o runs/two",
        "fedtap study regimes --quick --points map -o runs/quick-map",
    ),
)
def regimes(
    out: OutFolder,
    points: Annotated[
        str,
        typer.Option(
            "--points",
            metavar="A,B",
            help="points (the eight federations), map (every conflict with every number of examples), or names of either.",
        ),
    ] = "points,map",
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B", help="As in `fedtap compare`; local and fedavg_ft are added."),
    ] = None,
    network: Annotated[
        str, typer.Option("--network", metavar="NAME", help="plain, or experts (twice the time).")
    ] = "plain",
    conflicts: Annotated[
        str, typer.Option("--conflicts", metavar="0,0.5,1", help="Of the map: shares of clients in conflict.")
    ] = "0,0.5,1",
    numbers: Annotated[
        str, typer.Option("--examples", metavar="16,48,96", help="Of the map: training examples a task, at most 96.")
    ] = "16,48,96",
    seeds: Seeds = "0,1,2,3,4",
    quick: Annotated[
        bool, typer.Option("--quick", help="A size that shows that it works, in a minute, and no more.")
    ] = False,
    jobs: Jobs = None,
    device: Device = "auto",
) -> None:
    """Say in which federation which way of personalizing pays, and where none does; write OUT/regimes.html.

    Every method is set against local training, FedAvg with fine-tuning, private heads and the choice of the first two, at equal
    steps. The same command goes on where it was interrupted; more points, methods or seeds may be added to it.
    """
    import fedtap
    from fedtap.cli.watching import say_where, watching
    from fedtap.reporting.regimes.page import regimes_sentences
    from fedtap.study.regimes.design import METHODS
    from fedtap.study.variants import split_list

    with watching(out) as watch:
        result = fedtap.study_regimes(
            out=out,
            points=points.split(","),
            methods=METHODS if methods is None else split_list(methods),
            network=network,
            conflicts=shares_of("--conflicts", conflicts),
            examples=numbers_of("--examples", numbers),
            seeds=seeds_of(seeds),
            quick=quick,
            jobs=jobs,
            device=device,
            observers=[watch],
        )
    for sentence in regimes_sentences(result):
        say(sentence)
    say_where(out, "regimes")
