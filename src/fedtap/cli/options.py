"""Options and arguments that several commands take, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="A YAML file, such as scenarios/quickstart.yaml.")
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, as `fedtap run --out` made it.")]
Method = Annotated[
    str | None,
    typer.Option(
        "--method", "-m", metavar="NAME", help="Use this method, not the scenario's; `fedtap methods` lists them."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Change a setting of the scenario, e.g. rounds=3 or method.gate=paired. Give it as often as you like.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, instead of a table.")]
