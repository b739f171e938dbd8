"""``fedtap sweep``: one method at several settings, then one page with the curves."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtap.cli.options import Device, Jobs, OutFolder, ScenarioFile, Seeds, seeds_of
from fedtap.cli.screen import examples, say

EXAMPLES = examples(
    "fedtap sweep quickstart --set margin=0.001,0.01,0.1,1,10 --vs tap:gate=paired --base local -o runs/margin",
    "fedtap sweep quickstart --set data.dirichlet=0.1,1,100 --vs fedavg_ft --base local --seeds 0,1 -o runs/skew",
    "fedtap sweep quickstart --set clients=10,30,100 --set clients_per_round=10 --base local -o runs/clients",
)


def sweep(
    scenario: ScenarioFile,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=V1,V2,...",
            help="Values to sweep, e.g. method.margin=0.01,0.1; one value changes a setting everywhere. Several: all "
            "combinations. clients=10,30 are numbers of clients, which share the same data.",
        ),
    ],
    out: OutFolder,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", metavar="LABEL", help="What to sweep; by default the scenario's method."),
    ] = None,
    seeds: Seeds = "0",
    vs: Annotated[
        str,
        typer.Option(
            "--vs",
            metavar="A,B,...",
            help="Methods to set beside it, e.g. tap:gate=paired. Swept parameters of the method are not applied to them.",
        ),
    ] = "",
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="LABEL", help="Give gains over this method at the same setting, e.g. local."),
    ] = None,
    jobs: Jobs = None,
    device: Device = "auto",
) -> None:
    """Run a method at every combination of settings with every seed, and write OUT/sweep.html.

    Runs are processes of their own, as with `fedtap compare`; the same command goes on where it was interrupted, and more values
    may be added to it. Without --base gains are relative to the first value of the first setting.
    """
    import fedtap
    from fedtap.cli.watching import say_where, watching
    from fedtap.reporting.sweep.page import sweep_sentences

    with watching(out) as watch:
        result = fedtap.sweep(
            scenario,
            settings,
            method=method,
            seeds=seeds_of(seeds),
            out=out,
            vs=vs,
            base=base,
            jobs=jobs,
            device=device,
            observers=[watch],
        )
    for sentence in sweep_sentences(result):
        say(sentence)
    say_where(out, "sweep")
