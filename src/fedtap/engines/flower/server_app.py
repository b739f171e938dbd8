"""The app that runs beside the SuperLink: it hands Flower's Grid and the run's settings to the federation's round loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

__all__ = ["Grid", "ServerApp", "log_event", "make_server_app"]

Tell = Callable[[dict[str, Any]], None]
Serve = Callable[[Grid, Mapping[str, Any], Tell], None]
"""Runs a federation from its first round, or from its checkpoint, to its results."""
TOLD = {
    "joined": "{client} joined",
    "refused": "node {node} refused: {why}",
    "round_started": "round {round}: asking {clients}",
    "failed": "round {round}: {client} failed: {why}",
    "rejected": "round {round}: {client} rejected: {why}",
    "unchanged": "round {round} changes nothing: {replies} of {min_replies} replies",
    "round_finished": "round {round}: done with {clients} after {seconds} s",
    "finished": "finished",
}
"""What the run's log says of which event."""


def make_server_app(serve: Serve) -> ServerApp:
    """Return the app that serves a federation; ``serve`` gets the Grid, the run's settings, and whom to tell."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        serve(grid, context.run_config, log_event)

    return app


def log_event(event: dict[str, Any]) -> None:
    """Write an event's line into Flower's log, which ``flwr run --stream`` and ``flwr log`` show."""
    line = TOLD.get(event["event"])
    if line is not None:
        logging.getLogger("flwr").info("fedtap: %s", line.format_map(event))
