"""``fedtap run``: a federation from the first round to its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fedtap.cli.live.beside import page_beside
from fedtap.cli.live.watch import Port
from fedtap.cli.options import Device, Method, ScenarioFile, Settings, method_place
from fedtap.cli.screen import examples, say, screen, show_table
from fedtap.runtime.errors import UserError

_PLAIN = "plain"

EXAMPLES = examples(
    "fedtap run quickstart",
    "fedtap run quickstart --method fedavg_ft --seed 1",
    "fedtap run quickstart --set rounds=5 --set method.gate=paired",
    "fedtap run quickstart --workers auto",
    "fedtap run quickstart --engine ray --workers 4",
    "fedtap run quickstart --live",
    "fedtap run quickstart --track tensorboard",
    "fedtap run quickstart --resume",
    "fedtap run quickstart --extend rounds=30",
    "fedtap run paper-flava --fetch --device cuda",
)


class ResumeAlone(TyperCommand):
    """A command whose ``--resume`` may stand alone, as it always could, or have a value behind ``=``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give the option that stands alone a value of its own: it must not take the next word for one."""
        return super().parse_args(ctx, [f"--resume={_PLAIN}" if word == "--resume" else word for word in args])


def run(
    scenario: ScenarioFile,
    method: Method = None,
    seed: Annotated[int, typer.Option("--seed", help="All that is random follows from it.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The run's folder; by default runs/SCENARIO-METHOD-seedSEED."),
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="[=auto]",
            help="Go on from the last complete round in the run's folder; --resume=auto starts where there is no run yet.",
        ),
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(
            "--extend",
            metavar="rounds=N",
            help="Go on from the finished run in the run's folder to N rounds, with clients that are new in the scenario.",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="What carries the messages: inprocess, ray or flower.")
    ] = "inprocess",
    device: Device = "auto",
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            "-w",
            metavar="N|auto",
            help="Train, personalise and test clients side by side in N processes of one thread; auto: one for each core, as far "
            "as memory reaches. Results are the same for every N, and those of OMP_NUM_THREADS=1 without it.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT|auto",
            help="With --engine ray: a cluster that runs already; by default a Ray is started on this machine, for this run.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(
            "--gpus-per-worker",
            metavar="GPUS",
            help="With --engine ray: what each worker takes of the GPUs, 0.5 for a half.",
        ),
    ] = 0.0,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch", help="First bring what it needs of the model hub, as `fedtap fetch SCENARIO --yes` does."
        ),
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(
            "--track",
            metavar="NAME,...",
            help="Tell trackers of the run: tensorboard, mlflow, wandb; each has to be installed (`fedtap doctor`).",
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Serve the growing report to a browser of this machine while the run goes on; the address is said.",
        ),
    ] = False,
    port: Port = None,
) -> None:
    """Train a federation, personalise every client's model, evaluate all of them, and write the report.

    The run's folder gets report.html, results.json, cost.json, run.json, events.jsonl and the clients' models. The same command
    with the same seed gives the same results.json. Interrupt it at any time (Ctrl-C): --resume goes on from the last complete
    round, and the results are those of an uninterrupted run. --extend gives a finished run more rounds.
    """
    import fedtap
    from fedtap.algorithms.registry import make
    from fedtap.experiment.folder import default_path
    from fedtap.reporting.progress.run import watcher
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(scenario, settings or [])
    if resume not in (None, _PLAIN, "auto"):
        raise UserError(f"--resume={resume}: give --resume alone, or --resume=auto")
    rounds = None if extend is None else rounds_of(extend)
    name = make(loaded.method, method, place=method_place(scenario, method)).name
    folder = out or default_path(loaded.name, name, seed)
    if fetch:
        from fedtap.cli.start.fetch import bring

        bring(loaded)
    try:
        with (
            page_beside(folder, live=live, port=port) as page,
            watcher(rounds or loaded.rounds, screen(errors=True)) as watch,
        ):
            results = fedtap.run(
                loaded,
                method=method,
                seed=seed,
                out=folder,
                resume="auto" if resume == "auto" else resume is not None,
                extend=rounds,
                engine=engine,
                device=device,
                workers=workers,
                ray_address=ray_address,
                gpus_per_worker=gpus_per_worker,
                track=None if track is None else [name.strip() for name in track.split(",")],
                observers=[watch] if page is None else [watch, page],
            )
    except KeyboardInterrupt:
        again = "--resume" if (folder / "run.json").exists() else "--resume=auto"
        again = again if extend is None else "(--extend goes on)"
        screen(errors=True).print(
            f"fedtap: interrupted; the complete rounds are in {folder}: give the same command with --out {folder} {again}",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    if results["rows"]:
        show_families(results["rows"], loaded.resolved())
    else:
        say("No results here: every node keeps its own (policy.results: false)")
    say(f"Report: {folder / 'report.html'}")
    say(f"Everything else (results, costs, events, models): {folder}")


def rounds_of(extend: str) -> int:
    """Return the number of ``rounds=N``; raises :class:`UserError` if it is anything else."""
    key, _, value = extend.partition("=")
    if key.strip() != "rounds" or not value.strip().isdecimal():
        raise UserError(f"--extend {extend}: only rounds can be extended; give --extend rounds=N")
    return int(value)


def show_families(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
    """Show the mean of each family's primary metric on the clients' own test data, by model, beside the trivial baselines."""
    from rich.text import Text

    from fedtap.metrics.table import HIGHER_IS_BETTER
    from fedtap.reporting.html.formatting import family_name, metric_name, number
    from fedtap.reporting.run.standings import family_standings, model_order, standings

    families = family_standings(standings(rows, config))
    models = model_order(name for family in families for name in family.values)
    table: list[list[str | Text]] = []
    for family in families:
        arrow = "↑" if HIGHER_IS_BETTER.get(family.metric, True) else "↓"
        values = [
            Text(
                number(family.values.get(model)), style="bold green" if model in family.best and len(models) > 1 else ""
            )
            for model in models
        ]
        about = (family_name(family.family), f"{metric_name(family.metric)} {arrow}", str(family.client_tasks))
        table.append([*about, number(family.baseline), *values])
    head = ("family", "metric", "tasks", "baseline", *models)
    show_table(head, table, title="Mean over the client tasks, each on the client's own test data", numeric_from=2)
