"""What clients are given of the data that are on this machine: for a look before a run, and for no run."""

from __future__ import annotations

from collections.abc import Sequence

from fedtap.data.example import Example
from fedtap.data.partition import Partition, TaskSplits, share
from fedtap.data.requests import Kind, Request, place_of, requests
from fedtap.data.sources import source
from fedtap.data.sources.hub.source import HubSource
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario


def data_at_hand(scenario: Scenario, seed: int, *, public: bool = False) -> tuple[Partition, list[str]]:
    """Return who gets which examples of sites' own data, and a line on each place that could not be looked at.

    Parameters
    ----------
    scenario, seed
        Who asks for what.
    public
        Whether to look at built-in sources too. Nothing is fetched: what would come from the hub is left aside.
    """
    asked = requests(scenario)
    together: dict[object, dict[Kind, list[Request]]] = {}
    for kind in sorted(asked, key=repr):
        place = place_of(kind)
        if place is not None or public:
            together.setdefault(place or kind, {})[kind] = asked[kind]
    given: dict[tuple[str, str], TaskSplits] = {}
    lines: list[str] = []
    for here in together.values():
        task = next(iter(here.values()))[0].task
        missing = _missing(scenario, task.source, task.path)
        if missing:
            lines.append(f"{missing}, so not looked at")
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


def _missing(scenario: Scenario, name: str, path: str | None) -> str:
    """Return what of a source is not on this machine, as far as that is seen without reading it; or nothing."""
    if path is not None and not (scenario.folder / path).exists():
        return f"{scenario.folder / path}: not on this machine"
    if path is None and isinstance(source(name), HubSource):
        return f"source '{name}': would come from the hub"
    return ""
