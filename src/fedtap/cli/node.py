"""``fedtap node``: a client's own machine, made ready for a federation across machines. Nothing here sends anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtap.cli.check import show_data, show_faults
from fedtap.cli.options import Device, Settings
from fedtap.cli.screen import examples, say, show_table
from fedtap.runtime.errors import UserError
from fedtap.runtime.home import expanded

if TYPE_CHECKING:
    from fedtap.data.feature_extractor import Tokenizer
    from fedtap.deployment.node import NodeSettings
    from fedtap.scenario.scenario import Scenario

app = typer.Typer(help="Make a client's own machine ready for a federation across machines. Nothing is sent.")
EXAMPLES = examples(
    "fedtap node init /srv/node --client hospital-a --scenario scenario.yaml --data scans=/data/scans",
    "fedtap node check /srv/node --scenario scenario.yaml",
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder, with node.yaml.")]
ScenarioOption = Annotated[
    Path, typer.Option("--scenario", metavar="FILE", help="The federation's scenario, a YAML file.")
]


@app.command("init", epilog=EXAMPLES)
def init(
    folder: Folder,
    client: Annotated[str, typer.Option("--client", metavar="ID", help="Which client of the scenario this is.")],
    scenario: ScenarioOption,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="TASK=PATH", help="Where a task's data lie here; others lie as the scenario says."
        ),
    ] = None,
    store: Annotated[
        str, typer.Option("--store", metavar="DIR", help="Where the client's private models go; by default in DIR.")
    ] = "state",
    device: Device = "auto",
    allow_method: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-method",
            metavar="FILE.py|NAME",
            help="A method that is not fedtap's own and may be run here: a file as it is now, or an installed package's.",
        ),
    ] = None,
    key: Annotated[
        bool, typer.Option("--key/--no-key", help="Make a key pair, by which the server knows the node.")
    ] = True,
) -> None:
    """Write node.yaml and a key pair into a folder, and check that the client's data are all there."""
    from fedtap.deployment.node import DataPlace, NodeSettings, write_node
    from fedtap.deployment.reach import allowed_now
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(scenario, folder=folder)
    loaded.client(client)  # refuses one that is not there before anything is written
    places = dict(_place(given) for given in data or [])
    settings = NodeSettings(
        client=client,
        data={task: DataPlace(path=path) for task, path in places.items()},
        store=store,
        device=device,
        key="node.key" if key else None,
        allow_methods=tuple(allowed_now(given) for given in allow_method or []),
        folder=folder.resolve(),
    )
    found = _checked(settings, loaded)
    if key:
        from fedtap.cli.flower import need_flower

        need_flower("node init --key")
        from fedtap.engines.flower.certificates import make_node_key

        public = make_node_key(folder / "node.key")
        say(f"{public}: the public key; the server needs it as {client}.pub")
    path = write_node(folder, settings)
    say(f"{path}: written")
    _show(*found, client)


@app.command("check", epilog=EXAMPLES)
def check(folder: Folder, scenario: ScenarioOption, settings: Settings = None) -> None:
    """Read node.yaml and all of the client's data as a run would, and show how many examples each task has.

    Says too whether the scenario meets the node's policy, and what its data have spent of its budget of privacy.
    """
    from fedtap.deployment.node import FILE, read_node
    from fedtap.deployment.policy import Ledger
    from fedtap.experiment.planning import vocabulary_of
    from fedtap.scenario.scenario import load_scenario

    node = read_node(folder)
    loaded = load_scenario(scenario, settings or [], node.folder)
    words = None
    if any(pair.type == "text_generation" for pair in loaded.client(node.client).pairs):
        node.check_models(loaded)
        words = vocabulary_of(loaded)
    _show(*_checked(node, loaded, words), node.client)
    node.check_models(loaded)
    complaint = node.policy.complaint(loaded.privacy)
    if complaint is not None:
        raise UserError(f"{node.folder / FILE}: the node would not take part: it {complaint}")
    ledger, policy = Ledger(node.states), node.policy
    if ledger.entries():
        allowed = "" if policy.epsilon is None else f" of {policy.epsilon:g}"
        spent = ledger.epsilon(policy.delta)
        say(f"spent so far, over all runs: epsilon {spent:.2f}{allowed} at delta {policy.delta:g} ({ledger.path})")


def _place(given: str) -> tuple[str, str]:
    task, equals, path = given.partition("=")
    if not equals or not task or not path:
        raise UserError(f"--data {given}: give TASK=PATH, for example --data scans=/data/scans")
    return task, str(expanded(path).resolve())


def _checked(
    node: NodeSettings, scenario: Scenario, words: Tokenizer | None = None
) -> tuple[dict[str, dict[str, int]], list[str], list[dict[str, Any]]]:
    """Return the node's examples, where they fall short, and what else is to be known; all that is wrong is told together."""
    from fedtap.data.reading import remembering
    from fedtap.data.sources.intake import DataError
    from fedtap.deployment.node import look

    told: list[dict[str, Any]] = []
    try:
        found, short = look(node, scenario, words=words, tell=remembering(told))
    except DataError as error:
        if error.number > 1:
            show_faults(error.faults, error.number)
            raise UserError(
                f"{node.folder}: {error.number} faults in the data of '{node.client}'; mend them"
            ) from error
        raise
    return found, short, told


def _show(found: dict[str, dict[str, int]], short: list[str], told: list[dict[str, Any]], client: str) -> None:
    rows = [[task, *(str(sizes[split]) for split in ("train", "validation", "test"))] for task, sizes in found.items()]
    show_table(("task", "train", "validation", "test"), rows, title="Examples that this node will use", numeric_from=1)
    show_data({client: short}, told, ())
