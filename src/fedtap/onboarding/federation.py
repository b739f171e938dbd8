"""A finished run and a site that never took part in it, as one federation. Not: what the site makes of it (joining)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedtap.algorithms.base import ServerState
from fedtap.federation.checkpoint import Checkpoint
from fedtap.models.opened import clients_of
from fedtap.models.saved_model import read_model
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import check_files, read_record
from fedtap.scenario.explain import explain
from fedtap.scenario.plain_yaml import read_parsed
from fedtap.scenario.renamed import with_current_keys
from fedtap.scenario.scenario import ClientSettings, Scenario, apply_override, build_scenario

_PLACES = frozenset({"path", "pictures", "columns", "parts", "delimiter", "encoding", "sheet"})
"""Keys of a task that say where its data lie, and not what is asked."""


@dataclass(frozen=True, slots=True)
class Joining:
    """A federation that has ended, and the client that joins it.

    Parameters
    ----------
    scenario
        The run's, and the client in it, held out of training.
    client
        Who joins.
    run
        What the run is called in its files.
    record
        What its run.json says.
    server
        The server's state after the last round.
    was_there
        Whether the run held the client out itself, and has tested it.
    notes
        What the user should know.
    """

    scenario: Scenario
    client: ClientSettings
    run: str
    record: Mapping[str, Any]
    server: ServerState
    was_there: bool
    notes: tuple[str, ...] = ()


def read_client(path: Path) -> ClientSettings:
    """Return the client that a file describes: a mapping of ``id`` and ``tasks``, or a scenario with one client.

    Raises
    ------
    UserError
        If it cannot be read, describes no client, or several.
    """
    try:
        _, raw = read_parsed(path, f"--client {path}")
    except FileNotFoundError as error:
        raise UserError(f"--client {path}: no such file; give a YAML file with the client's id and tasks") from error
    if isinstance(raw, dict) and isinstance(raw.get("clients"), list):
        if len(raw["clients"]) != 1:
            raise UserError(
                f"--client {path}: a scenario of {len(raw['clients'])} clients; give one of them in a file of its own"
            )
        raw = raw["clients"][0]
    if not isinstance(raw, dict):
        raise UserError(f"--client {path}: expected a mapping with 'id' and 'tasks', as a scenario lists a client")
    try:
        client = ClientSettings.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"--client {path}: {explain(error, ClientSettings)}") from error
    if client.count != 1:
        raise UserError(f"--client {path}: 'count' is {client.count}; one site joins at a time, so leave it out")
    return client.model_copy(update={"unseen": True})


def read_joining(run: Path, client_file: Path, settings: Sequence[str] = ()) -> Joining:
    """Return a finished run with a client that joins it.

    Parameters
    ----------
    run
        The run's folder.
    client_file
        Of the client; relative paths of its data start where the file lies.
    settings
        ``section.key=value``, for what a site does after the last round.

    Raises
    ------
    UserError
        If the run is not finished or damaged, or the client took part in it or does not fit to it.
    """
    if not (run / "run.json").exists():
        raise UserError(f"{run}: holds no run; give the folder of a run made by `fedtap run`")
    record = read_record(run)
    if not (run / "results.json").exists():
        raise UserError(f"{run}: the run is not finished; go on with it first (--resume)")
    check_files(run, record["run"])
    client = read_client(client_file)
    raw = with_current_keys(dict(record["config"]), str(run / "run.json"))
    raw = {key: value for key, value in raw.items() if key not in ("population", "tasks_per_client", "theory")}
    known = {str(each.get("id")): each for each in raw.get("clients", ())}
    saved = clients_of(run)
    if saved:  # a saved model says where frozen weights lie that are in a folder
        raw["backbone"] = read_model(run, saved[0]).backbone.model_dump(mode="json")
    for setting in settings:
        apply_override(raw, setting)
    folder = client_file.parent.resolve()
    old = build_scenario(raw, place=str(run / "run.json"), folder=folder)
    was_there = client.id in known
    if was_there:
        _check_same(old.client(client.id), client, run)
    client, notes = _placed_heads(client, old)
    listed = [
        client.model_dump(mode="json") if each.id == client.id else each.model_dump(mode="json") for each in old.clients
    ]
    if not was_there:
        listed.append(client.model_dump(mode="json"))
    scenario = build_scenario({**raw, "clients": listed}, place=f"{run} with {client_file}", folder=folder)
    checkpoint = Checkpoint.load(run / "checkpoint" / "server.safetensors", record["run"])
    if checkpoint is None or checkpoint.round != scenario.rounds:
        held = "missing" if checkpoint is None else f"of round {checkpoint.round}, and the run has {scenario.rounds}"
        raise UserError(f"{run / 'checkpoint'}: the server's model is {held}; restore it from a copy")
    return Joining(scenario, scenario.client(client.id), record["run"], record, checkpoint.state, was_there, notes)


def _check_same(there: ClientSettings, client: ClientSettings, run: Path) -> None:
    """Refuse a client of the run's that took part, or is another under the same id."""
    if not there.unseen:
        raise UserError(
            f"client '{client.id}': took part in {run}, and has a model there (fedtap export {run} --client {client.id}); "
            "give a new site another id"
        )
    asked = [_asked(each) for each in (there, client)]
    if asked[0] != asked[1]:
        raise UserError(
            f"client '{client.id}': {run} held out a client of this id with other tasks; give this one another id"
        )


def _asked(client: ClientSettings) -> list[dict[str, Any]]:
    return [task.model_dump(mode="json", exclude=set(_PLACES)) for task in client.tasks]


def _placed_heads(client: ClientSettings, old: Scenario) -> tuple[ClientSettings, tuple[str, ...]]:
    """Return a client whose tasks have heads of their own where they mean something else than the run's, and what to say of it.

    A task that is called as one of the run's, and has other classes, cannot use its head.
    """
    heads = {task.pair.head: task for other in old.clients if other.id != client.id for task in other.tasks}
    tasks, notes = [], []
    for task in client.tasks:
        there = heads.get(task.pair.head)
        if there is not None and there.means != task.means:
            own = f"{task.pair.head}-{client.id}"[:64]
            notes.append(
                f"task '{task.name}' means something else than the run's: it gets a head of its own, '{own}', untrained"
            )
            task = task.model_copy(update={"head": own})
        elif there is None:
            alike = [name for name, each in heads.items() if each.means == task.means and _sure(task)]
            if alike:
                notes.append(
                    f"task '{task.name}' has the classes of the run's task '{heads[alike[0]].name}': with `head: {alike[0]}` it "
                    "would begin with the head that is trained"
                )
            else:
                notes.append(f"task '{task.name}': the run has no head for it; it begins untrained")
        tasks.append(task)
    return client.model_copy(update={"tasks": tuple(tasks)}), tuple(notes)


def _sure(task: Any) -> bool:
    """Tell whether a task's classes say what it is: names, and not a number of them, or a public source's own."""
    return task.classifies and isinstance(task.classes, tuple)
