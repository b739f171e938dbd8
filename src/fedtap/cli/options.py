"""Options and arguments that several commands take, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtap.cli.screen import note
from fedtap.runtime.errors import UserError
from fedtap.scenario.shipped import SUFFIXES, in_the_way, shipped


def _say_which(context: typer.Context, given: Path) -> Path:
    """Say which file a name means where there are two: one of the current folder, and one that comes with fedtap."""
    if not context.resilient_parsing and (here := in_the_way(given)) is not None:
        note(f"{given}: taken for the file {here} of this folder, not for what comes with fedtap under that name")
    return given


def _scenarios(incomplete: str) -> list[str]:
    """Return what a shell may complete a scenario to: the names that come with fedtap, YAML files and folders."""
    folder, _, begun = incomplete.rpartition("/")
    try:
        below = sorted(Path(f"{folder}/" if "/" in incomplete else ".").iterdir())
    except OSError:
        below = []
    files = [
        f"{folder}/{path.name}" if "/" in incomplete else path.name
        for path in below
        if path.name.startswith(begun) and (path.is_dir() or path.suffix in SUFFIXES)
    ]
    return [name for name in shipped() if name.startswith(incomplete)] + files


ScenarioFile = Annotated[
    Path,
    typer.Argument(
        metavar="SCENARIO",
        help="A YAML file, or the name of a federation that comes with fedtap (`fedtap scenario list`).",
        callback=_say_which,
        autocompletion=_scenarios,
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, as `fedtap run --out` made it.")]
ModelFolder = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A folder that `fedtap export` made, owner/name on the hub, or a run's folder, with --client.",
    ),
]
Client = Annotated[
    str | None, typer.Option("--client", "-c", metavar="ID", help="Of a run: the client whose model it is.")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="Of a run: which of the client's models; by default the one to deploy."
    ),
]
BackboneFolder = Annotated[
    Path | None,
    typer.Option(
        "--backbone",
        metavar="DIR",
        help="Of an exported model: where its frozen weights lie, if they have moved.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        help="Use this method, not the scenario's: a name that `fedtap methods` lists, or a FILE.py of your own.",
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
OutFolder = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="The folder for the runs and what is made of them; goes on there."),
]
Seeds = Annotated[str, typer.Option("--seeds", metavar="0,1,...", help="Each method is run with each of these seeds.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="N", help="Runs at a time; by default one for each core.", min=1),
]

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or another device of torch.")]


def seeds_of(text: str) -> list[int]:
    """Return the seeds of ``--seeds``; raises :class:`UserError` unless it is whole numbers with commas."""
    return numbers_of("--seeds", text)


def numbers_of(option: str, text: str) -> list[int]:
    """Return the whole numbers of an option; raises :class:`UserError` unless that is what they are, with commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option} {text}: give whole numbers with commas, for example {option} 0,1,2") from error


def shares_of(option: str, text: str) -> list[float]:
    """Return the numbers of an option; raises :class:`UserError` unless that is what they are, with commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option} {text}: give numbers with commas, for example {option} 0,0.5,1") from error


def method_place(scenario: Path, method: str | None) -> str:
    """Return where a method is named: by the option ``--method``, or else by the scenario."""
    return f"{scenario}: method" if method is None else "--method"
