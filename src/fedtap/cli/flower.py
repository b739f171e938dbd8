"""``fedtap flower``: what a federation across machines needs beside the scenario: the app's folder, certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtap.cli.screen import examples, say
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install

app = typer.Typer(help="Make what a federation across machines needs: the app that Flower runs, and certificates.")
EXAMPLES = examples(
    "fedtap flower init federation --scenario scenario.yaml --keys /srv/federation/keys --out /srv/federation/run",
    "fedtap flower certificates certificates --host superlink.example.org --host 127.0.0.1",
)


@app.command("init", epilog=EXAMPLES)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The app's folder; it must not be there yet, or empty.")
    ],
    scenario: Annotated[Path, typer.Option("--scenario", metavar="FILE", help="The scenario, a YAML file.")],
    keys: Annotated[
        str, typer.Option("--keys", metavar="DIR", help="On the server: the folder of the nodes' public keys.")
    ] = "",
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="On the server: the run's folder.")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Nodes without keys: any of them may say that it is any client.")
    ] = False,
) -> None:
    """Write a Flower app around a scenario; `flwr run DIR NAME` then starts the federation at the SuperLink of that name."""
    from fedtap.experiment.planning import check
    from fedtap.scenario.plain_yaml import parse
    from fedtap.scenario.scenario import load_scenario
    from fedtap.scenario.shipped import scenario_file

    loaded = load_scenario(scenario)
    check(loaded)
    if bool(keys) == insecure:
        raise UserError(
            "give either --keys, the folder of the nodes' public keys on the server, or --insecure for nodes without keys"
        )
    need_flower("flower init")
    from fedtap.engines.flower.app_folder import write_app

    text = scenario_file(scenario).read_text(encoding="utf-8")
    # A scenario without a name is called as its file is, and in an app every scenario's file is called alike.
    if "name" not in parse(text):
        text = f"name: {loaded.name}\n{text}"
    write_app(folder, text, name=loaded.name, out=out, keys=keys, insecure=insecure)
    say(f"{folder}: an app for {len(loaded.clients)} clients; start it with: flwr run {folder} NAME")


@app.command("certificates", epilog=EXAMPLES)
def certificates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where ca.crt, server.crt and server.key go.")],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="A name or address of the SuperLink; give it for each."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="How long they are valid.")] = 365,
) -> None:
    """Make an authority and a certificate for the SuperLink; ca.crt is for every node, the others for the SuperLink alone."""
    need_flower("flower certificates")
    from fedtap.engines.flower.certificates import LOOPBACK, make_certificates

    made = make_certificates(folder, [*(host or []), *(name for name in LOOPBACK if name not in (host or []))], days)
    say(f"{made.authority}: for every node, and for who starts runs")
    say(f"{made.certificate}, {made.key}: for the SuperLink alone")


def need_flower(what: str) -> None:
    """Refuse, in one line, where Flower is not installed."""
    from importlib.util import find_spec

    if find_spec("flwr") is None:
        raise UserError(f"{what}: package flwr is not installed; run: {install('flower')} (Python 3.11 or newer)")
