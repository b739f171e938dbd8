"""Bringing what a scenario needs of the hub: room on the disk, files and digests, and that they can be read. Then it is recorded.

What has come whole stays whatever happens to the rest, and a record is written of what is whole alone: a run never finds a half.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedtap.backbones import spec
from fedtap.backbones.checkpoints import fetched as place_of
from fedtap.backbones.origins import refuse_code
from fedtap.data.sources.hub.load import from_record
from fedtap.data.sources.hub.rows import check_columns
from fedtap.fetching.plan import Item, plan_of
from fedtap.hub import record, repository, transfer
from fedtap.hub.record import Fetched
from fedtap.reporting.html.formatting import human_bytes
from fedtap.runtime.errors import RunError, UserError
from fedtap.scenario.scenario import Scenario, load_scenario

Tell = Callable[[dict[str, Any]], None]


def fetch(
    scenario: str | Path | Scenario, items: Sequence[Item] | None = None, tell: Tell = lambda event: None
) -> None:
    """Bring what a scenario needs of the hub, check all of it, and record it: from then on runs need no connection.

    Parameters
    ----------
    scenario
        A YAML file, the name of one that comes with fedtap, or a scenario already loaded.
    items
        As :func:`fedtap.fetching.plan.plan_of` gave them; by default what was fetched before, or else the newest.
    tell
        Hears events: ``fetching`` (name, done, total, in bytes), from another thread, and ``fetched`` (name, revision).

    Raises
    ------
    UserError
        If there is no room, or something does not come, or is not what the hub lists, or cannot be used.
    """
    loaded = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    wanted = plan_of(loaded) if items is None else items
    check_room(wanted)
    for item in wanted:
        try:
            _fetch(item, tell)
        except RunError as error:
            raise UserError(
                f"{item.repository.name}: no space left for its record, or for the copy of about its size that `datasets` makes; "
                "free some, or set HF_HOME to a folder on another disk, then give the command again: its files are kept"
            ) from error
    place_of.cache_clear()  # what was looked for before is here now
    if any(item.need.kind == "model" for item in wanted):
        spec(loaded.backbone)


def check_room(items: Sequence[Item]) -> None:
    """Refuse to begin where the disk has no room for what is to come."""
    wanted = sum(item.to_come for item in items)
    free = free_bytes()
    if wanted > free:
        raise UserError(
            f"{repository.cache()}: {human_bytes(wanted)} are to come, and {human_bytes(free)} are free; free some, or set "
            "HF_HOME to a folder on another disk"
        )


def free_bytes() -> int:
    """Return how many bytes are free where the hub's client keeps its files."""
    place: Path = repository.cache()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _fetch(item: Item, tell: Tell) -> None:
    name = item.repository.name

    def progress(done: int, total: int) -> None:
        tell({"event": "fetching", "name": name, "done": done, "total": total})

    folder = transfer.bring(item.repository, item.paths, progress)
    made = item.fetched()
    if item.need.kind == "model":
        refuse_code(folder / "config.json")
    else:
        _check_data(item, made)
    record.write(made)
    tell({"event": "fetched", "name": name, "revision": made.revision})


def _check_data(item: Item, made: Fetched) -> None:
    """Have ``datasets`` read each configuration, which makes the copy that runs use, and look at its columns."""
    for config, (source, task) in item.need.tasks.items():
        place = f"source '{source.name}'"
        data = from_record(made, config or None, place=place)
        for split in item.parts[config]:
            here = f"{made.name} at {made.revision[:12]}, split '{split}'"
            check_columns(data[split], source.columns(task), place=here)
