"""``fedtap watch``: the report of a run in a browser, current while the run goes on."""

from __future__ import annotations

from typing import Annotated

import typer

from fedtap.cli.options import RunFolder
from fedtap.cli.screen import examples, note, say
from fedtap.runtime.errors import UserError

EXAMPLES = examples("fedtap watch runs/quickstart", "fedtap watch runs/quickstart --port 8080")
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        "-p",
        min=0,
        max=65_535,
        help="Where the page is served, to browsers of this machine alone; by default any port that is free.",
    ),
]


def watch(run: RunFolder, port: Port = None) -> None:
    """Serve RUN's report to a browser of this machine, and keep it current while the run goes on.

    The run may be another process's, at work, ended or broken off; it takes no notice of this. Before there are results the page
    tells of rounds, clients, losses and replacements so far. End it with Ctrl-C: the run is left alone.
    """
    from fedtap.reporting.live.condition import Condition
    from fedtap.reporting.live.server import PageServer, address, listen, new_secret
    from fedtap.reporting.live.watched import Watched

    if not run.is_dir():
        raise UserError(f"{run}: no such folder; give the folder of a run made by `fedtap run`")
    watched = Watched(run)
    if watched.condition is Condition.NOTHING:
        raise UserError(
            f"{run}: holds no run, and nobody is at work there; give the folder of a run made by `fedtap run`"
        )
    listening, secret = listen(port or 0), new_secret()
    with PageServer(watched, listening, secret) as server:
        say(f"Watching {run}: {address(listening, secret)}")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            note("stopped watching; the run is left alone")
