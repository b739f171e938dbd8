"""``fedtap scenario``: what federations there are, what they contain, and what they will cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtap.cli.check import EXAMPLES as CHECK_EXAMPLES
from fedtap.cli.check import check, show_data
from fedtap.cli.options import AsJson, Method, ScenarioFile, Settings, method_place
from fedtap.cli.screen import examples, say, say_json, show_table
from fedtap.cli.step_time import EXAMPLES as TIME_EXAMPLES
from fedtap.cli.step_time import step_time
from fedtap.runtime.errors import UserError
from fedtap.scenario.shipped import in_the_way, shipped

app = typer.Typer(
    help="List, show, check, size up and time federations.", pretty_exceptions_enable=False, rich_markup_mode="markdown"
)


@app.callback(invoke_without_command=True)
def scenario(context: typer.Context) -> None:
    """List, show, check and size up federations. A scenario is one YAML file."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", epilog=examples("fedtap scenario list", "fedtap scenario list my/scenarios"))
def list_scenarios(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Where the YAML files are; by default those that come with fedtap, and those of a folder 'scenarios' here.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the federations that come with fedtap, or those of a folder; one that is not valid is listed with its fault.

    What stands in the first column is what other commands take.
    """
    from fedtap.scenario.scenario import load_scenario

    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name another, or none for what comes with fedtap")
    found: list[dict[str, Any]] = []
    for word, path in _files(folder):
        try:
            loaded = load_scenario(path)
        except UserError as error:
            found.append({"file": str(path), "name": path.stem, "fault": str(error), "word": word})
            continue
        found.append(
            {
                "file": str(path),
                "name": loaded.name,
                "about": loaded.about,
                "clients": len(loaded.participants),
                "unseen": len(loaded.unseen),
                "rounds": loaded.rounds,
                "word": word,
            }
        )
    words = [each.pop("word") for each in found]
    if as_json:
        say_json(found)
        return
    if not found:
        say(f"{folder or 'fedtap'}: no scenario there")
        return
    rows = [
        (
            word,
            each.get("about") or each.get("fault", ""),
            str(each.get("clients", "–")),
            str(each.get("rounds", "–")),
        )
        for word, each in zip(words, found, strict=True)
    ]
    show_table(("scenario", "about", "clients", "rounds"), rows, numeric_from=2)


def _files(folder: Path | None) -> list[tuple[str, Path]]:
    """Return the scenarios to list, each with the word that a command takes for it."""
    if folder is None:
        here = Path("scenarios")
        checkout = here.is_dir() and any(path.parent.samefile(here) for path in shipped().values())
        named = [(name, here / path.name if checkout else path) for name, path in shipped().items()]
        named = [(name if in_the_way(name) is None else str(path), path) for name, path in named]
        return [*named, *(_files(here) if here.is_dir() and not checkout else [])]
    return [(str(path), path) for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])]


@app.command("show", epilog=examples("fedtap scenario show quickstart"))
def show(path: ScenarioFile, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show a federation: who takes part with which tasks and data, and every setting, defaults included."""
    import yaml

    from fedtap.scenario.data import SIZES
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])
    if as_json:
        say_json(loaded.resolved())
        return
    say(loaded.name)
    if loaded.about:
        say(loaded.about)
    rows = [
        (
            client.id + (" (unseen)" if client.unseen else ""),
            task.name,
            task.type.replace("_", " "),
            task.modality,
            task.domain,
            task.source,
            "/".join(str(loaded.data.size(task, split)) for split in SIZES),
        )
        for client in loaded.clients
        for task in client.tasks
    ]
    show_table(
        ("client", "task", "type", "modality", "domain", "source", "examples"),
        rows,
        title="Who takes part (examples: training/validation/test)",
    )
    others = {key: value for key, value in loaded.resolved().items() if key not in ("name", "about", "clients")}
    others["tracking"] = loaded.tracking.model_dump(mode="json")
    say(yaml.safe_dump(others, sort_keys=False, allow_unicode=True).rstrip())


@app.command(
    "validate", epilog=examples("fedtap scenario validate my.yaml", "fedtap scenario validate my.yaml --set rounds=3")
)
def validate(path: ScenarioFile, settings: Settings = None, method: Method = None) -> None:
    """Check a scenario without loading data or weights: its keys, its sources, its method. Exit code 2 and one line if wrong."""
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])  # what is wrong within the file is told before PyTorch is loaded
    from fedtap.algorithms.registry import make
    from fedtap.backbones import check_files
    from fedtap.experiment.planning import architecture_of, check

    algorithm = make(loaded.method, method, place=method_place(path, method))
    check(loaded)
    architecture_of(loaded, algorithm)
    check_files(loaded.backbone)
    unseen = f" and {len(loaded.unseen)} unseen" if loaded.unseen else ""
    families = sorted({pair.family.replace("_", " ") for client in loaded.clients for pair in client.pairs})
    say(f"{path}: valid; {len(loaded.participants)} clients{unseen}, {', '.join(families)}")


app.command("check", epilog=CHECK_EXAMPLES)(check)
app.command("time", epilog=TIME_EXAMPLES)(step_time)


@app.command("plan", epilog=examples("fedtap scenario plan quickstart", "fedtap scenario plan my.yaml --json"))
def plan(
    path: ScenarioFile,
    settings: Settings = None,
    method: Method = None,
    all_data: Annotated[bool, typer.Option("--data", help="Look at built-in sources too; nothing is fetched.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which components every client and the server will hold, and their parameters and bytes.

    Neither data nor weights are needed; of sites' own data that are on this machine it says how many examples each client gets
    (with seed 0), and where they fall short. Frozen weights are in no component, so they are never sent and are not counted here;
    the bytes are those that travel once down, and once up, in a round.
    """
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])
    from fedtap.experiment.planning import data_report, plan_report
    from fedtap.reporting.html.formatting import human_bytes

    sizes = plan_report(loaded, method)
    data = data_report(loaded, public=all_data)
    if as_json:
        say_json({**sizes, "data": data})
        return
    tasks = {client.id: ", ".join(task.name for task in client.tasks) for client in loaded.clients}

    def row(name: str, about: str, size: dict[str, Any]) -> tuple[str, str, str, str, str]:
        return name, about, str(size["components"]), f"{size['parameters']:,}", human_bytes(size["bytes"])

    head = ("components", "parameters", "bytes")
    rows = [row(client["client"], tasks[client["client"]], client) for client in sizes["clients"]]
    rows.append(row("server", "all of them", sizes["server"]))
    show_table(("client", "tasks", *head), rows, title="Who holds what", numeric_from=2)
    kinds = [row(kind, KINDS.get(kind, ""), size) for kind, size in sizes["server"]["kinds"].items()]
    show_table(("kind", "what it is", *head), kinds, title="The server's components by kind", numeric_from=2)
    _show_data(data)


def _show_data(data: dict[str, Any]) -> None:
    rows = [
        (client, task, *(str(number) for number in sizes.values()))
        for client, tasks in data["clients"].items()
        for task, sizes in tasks.items()
    ]
    if rows:
        head = ("client", "task", "training", "validation", "test")
        show_table(head, rows, title="Examples of each client, of the data on this machine", numeric_from=2)
    show_data(data["short"], data["remarks"], data["not_looked_at"])


KINDS = {
    "encoder": "adapts a frozen tower's features to the fusion",
    "shared": "projection that all modalities share",
    "attention": "attention of a fusion block",
    "expert": "feed-forward expert of a modality, a task family, or both",
    "domain": "adapter of queries and values for a domain",
    "head": "output of a task",
    "probe": "linear model on frozen features",
}
