"""What clients are given of the data that are on this machine: for a look before a run, and for no run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fedtap.data.partition import Partition, TaskSplits, read_all, share
from fedtap.data.reading import Faults, remembering
from fedtap.data.requests import Kind, Request, requests, shared_places
from fedtap.data.sources import source
from fedtap.data.sources.hub.source import HubSource
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario


@dataclass(slots=True)
class AtHand:
    """What was found.

    Attributes
    ----------
    shares
        Who gets which examples, of the places that could be looked at.
    remarks
        What is to be known of them, as events.
    missing
        A line on each place that could not be looked at.
    """

    shares: Partition = field(default_factory=dict)
    remarks: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def data_at_hand(scenario: Scenario, seed: int, *, public: bool = False) -> AtHand:
    """Return who gets which examples of sites' own data, and what else is found out meanwhile.

    Parameters
    ----------
    scenario, seed
        Who asks for what.
    public
        Whether to look at built-in sources too. Nothing is fetched: what would come from the hub is left aside.
    """
    asked = requests(scenario)
    places = shared_places(asked)
    together: dict[object, dict[Kind, list[Request]]] = {}
    for kind in sorted(asked, key=repr):
        if kind in places or public:
            together.setdefault(places.get(kind, kind), {})[kind] = asked[kind]
    given: dict[tuple[str, str], TaskSplits] = {}
    found = AtHand()
    for here in together.values():
        missing = next(filter(None, (_missing(scenario, each[0]) for each in here.values())), "")
        if missing:
            found.missing.append(f"{missing}, so not looked at")
            continue
        faults = Faults()
        examples = read_all(scenario, here, faults, remembering(found.remarks))
        given.update(share(scenario, {kind: here[kind] for kind in examples}, examples, seed, faults))
        try:
            faults.refuse()
        except UserError as error:
            found.missing.append(str(error))
    shares = {
        client.id: {task.name: given[client.id, task.name] for task in client.tasks if (client.id, task.name) in given}
        for client in scenario.clients
    }
    found.shares = {client: tasks for client, tasks in shares.items() if tasks}
    return found


def _missing(scenario: Scenario, request: Request) -> str:
    """Return what of a source is not on this machine, as far as that is seen without reading it; or nothing."""
    task = request.task
    if task.path is None:
        return f"source '{task.source}': would come from the hub" if isinstance(source(task.source), HubSource) else ""
    for part in ("", *(task.parts or {}).values()):
        if not (place := scenario.folder / task.path / part).exists():
            return f"{place}: not on this machine"
    return ""
