"""What sites' own data give each client, as far as they are on this machine: for a look before a run, and for no run."""

from __future__ import annotations

from collections.abc import Sequence

from fedtap.data.example import Example
from fedtap.data.partition import Partition, TaskSplits, share
from fedtap.data.requests import Kind, place_of, requests
from fedtap.data.sources import source
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario


def own_data_at_hand(scenario: Scenario, seed: int) -> tuple[Partition, list[str]]:
    """Return who gets which examples of sites' own data, and a line on each place that could not be looked at.

    Public sources are left aside: what each client gets of them is what the scenario asks for, and some would be fetched.
    """
    asked = requests(scenario)
    given: dict[tuple[str, str], TaskSplits] = {}
    lines: list[str] = []
    for place in sorted({place for kind in asked if (place := place_of(kind)) is not None}):
        here = {kind: asked[kind] for kind in asked if place_of(kind) == place}
        path = scenario.folder / place[1]
        if not path.exists():
            lines.append(f"{path}: not on this machine, so not looked at")
            continue
        try:
            found: dict[Kind, Sequence[Example]] = {
                kind: source(kind[0]).examples(each[0].task, scenario.folder) for kind, each in here.items()
            }
            given.update(share(scenario, here, found, seed))
        except UserError as error:
            lines.append(str(error))
    shares = {
        client.id: {task.name: given[client.id, task.name] for task in client.tasks if (client.id, task.name) in given}
        for client in scenario.clients
    }
    return {client: tasks for client, tasks in shares.items() if tasks}, lines
