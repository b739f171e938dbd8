"""``fedtap scenario time``: what a local step takes on this machine, and whether bfloat16 would make it shorter."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtap.cli.options import AsJson, Device, Method, ScenarioFile, Settings
from fedtap.cli.screen import examples, say, say_json, screen, show_table

EXAMPLES = examples(
    "fedtap scenario time quickstart",
    "fedtap scenario time my.yaml --set batch_size=32 --device cuda",
)


def step_time(
    path: ScenarioFile,
    settings: Settings = None,
    method: Method = None,
    device: Device = "auto",
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Steps of a turn; of each precision there are six turns.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Time local steps of one client of each kind with its own data, in float32 and in bfloat16, and say which to set.

    Examples that this machine has not encoded before are encoded first. Medians of five turns, the precisions taking turns; with
    nothing else on the machine they are worth most. The total is that of the rounds' steps alone, one client at a time: what a
    method does beside them, personalising and evaluating come on top.

    The choice is yours, as training.precision: results differ in the second or third digit, and a run that chose by a stopwatch
    would not give the same bytes twice.
    """
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])
    from fedtap.experiment.step_time import time_steps
    from fedtap.reporting.html.formatting import human_seconds
    from fedtap.reporting.progress.run import watcher

    with watcher(loaded.rounds, screen(errors=True)) as watch:
        found = time_steps(loaded, method, device=device, steps=steps, tell=watch)
    if as_json:
        say_json(found.to_json())
        return
    rows = [
        (
            ", ".join(kind.tasks),
            str(kind.clients),
            f"{1000 * kind.seconds['fp32']:.1f}",
            f"{1000 * kind.seconds['bf16']:.1f}",
            f"{kind.seconds['fp32'] / kind.seconds['bf16']:.2f}",
        )
        for kind in found.kinds
    ]
    head = ("tasks", "clients", "fp32, ms", "bf16, ms", "bf16 is so many times as fast")
    title = f"A local step with {loaded.batch_size} examples, on {found.device}, {found.threads} threads"
    show_table(head, rows, title=title, numeric_from=1)
    plain, half = (human_seconds(found.training_seconds(precision)) for precision in ("fp32", "bf16"))
    say(f"The steps of all {loaded.rounds} rounds, one client at a time: about {plain} in fp32, {half} in bf16.")
    about = "it is set" if found.advised == found.precision else f"it is {found.precision} now"
    say(f"Advice for this machine: training.precision={found.advised} ({about}).")
