"""``fedtap onboard``: a site that never took part gets its personal model from a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedtap.cli.options import AsJson, Device, RunFolder, Settings
from fedtap.cli.screen import examples, note, say, say_json, show_table

if TYPE_CHECKING:
    from fedtap.onboarding.onboard import Onboarded

EXAMPLES = examples(
    "fedtap onboard runs/mine --client newcomer.yaml --to models/newcomer",
    "fedtap onboard runs/mine --client newcomer.yaml --to models/newcomer --set training.finetune_steps=100",
    "fedtap predict models/newcomer --text 'fever since Monday'",
)


FEW = 10
"""Test examples of which it is said that they are few."""


def onboard(
    run: RunFolder,
    client: Annotated[
        Path,
        typer.Option(
            "--client",
            "-c",
            metavar="FILE.yaml",
            help="The site's id and tasks, as a scenario lists a client; paths start there.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write, a new one or an empty one.")],
    settings: Settings = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", metavar="FILE.py", help="Where the run's method is a file of your own: that file."
        ),
    ] = None,
    device: Device = "auto",
    with_backbone: Annotated[
        bool, typer.Option("--with-backbone", help="Carry the frozen weights along with the model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give a site that never took part in a finished run its personal model, and say what it gains over training alone.

    The site gets its slice of the server's last model, heads of its own where its classes are new, and does what the run's method
    has every client do after the last round. Beside it, it trains alone for as many steps as a participant took. The gain is on
    the site's own test examples, with an interval over them. The folder is one for `fedtap predict`, `serve` and `export`;
    onboarding.json in it has all numbers.
    """
    from fedtap.onboarding.onboard import onboard as do
    from fedtap.reporting.progress.run import DataLines

    data = DataLines()

    def watch(event: dict[str, object]) -> None:
        if event["event"] == "joining":
            note(f"training {event['client']} by {event['method']} ...")
        for line in data.take(event):
            note(line)

    done = do(
        run,
        client=client,
        to=to,
        method=method,
        overrides=settings or [],
        device=device,
        with_backbone=with_backbone,
        observers=[watch],
    )
    if as_json:
        say_json(
            {"gains": [gain.to_json() for gain in done.gains], "steps": dict(done.steps), "notes": list(done.notes)}
        )
        return
    _show(done)
    say(f"Model: {to}")


def _show(done: Onboarded) -> None:
    from fedtap.metrics.table import HIGHER_IS_BETTER
    from fedtap.reporting.html.formatting import metric_name, number, signed

    for line in done.notes:
        say(line)
    rows = [
        (
            gain.task,
            f"{metric_name(gain.metric)} {'↑' if HIGHER_IS_BETTER[gain.metric] else '↓'}",
            number(gain.alone),
            number(gain.personal),
            signed(gain.difference, 3),
            "–" if gain.ci95 is None else f"{signed(gain.ci95[0], 3)} to {signed(gain.ci95[1], 3)}",
            str(gain.n),
        )
        for gain in done.gains
    ]
    head = ("task", "metric", "alone", done.model.name, "gain", "95 % over test examples", "n")
    show_table(head, rows, title="On the site's own test examples (gain: positive is better)", numeric_from=2)
    for gain in done.gains:
        if gain.n < FEW:
            say(f"{gain.task}: n is {gain.n}, too few test examples to conclude anything")
    say(
        f"Steps: {done.steps['joining']} to join, {done.steps['alone']} alone (those of a participant, and the fine-tuning)"
    )
