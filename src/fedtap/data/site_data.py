"""What one client holds on a machine of its own, and where its data lie there. Not here: how they are shared out (partition)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task's data lie on this machine, where that is not as the scenario says; columns may be called otherwise too."""

    path: str | None = None
    pictures: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteData:
    """One client's data on its own machine.

    Parameters
    ----------
    client
        Whose.
    folder
        Where relative paths start here.
    places
        By task, where its data lie.
    whole
        Whether the data there are those of all clients, as in a rehearsal on one machine: the client then takes its share.
    """

    client: str
    folder: Path
    places: Mapping[str, Place] = field(default_factory=dict)
    whole: bool = False

    def here(self, task: TaskSettings) -> TaskSettings:
        """Return a task of the scenario as it is to be read on this machine."""
        place = self.places.get(task.name, Place())
        changes: dict[str, object] = {}
        if place.path is not None:
            changes["path"] = place.path
        if place.pictures is not None:
            changes["pictures"] = place.pictures
        if place.columns:
            changes["columns"] = {**task.columns, **place.columns}
        return task.model_copy(update=changes)

    def beside(self, task: TaskSettings, mine: TaskSettings) -> TaskSettings:
        """Return another client's task, which shares a place with the task ``mine``, as it is to be read on this machine.

        Its files lie to those of ``mine`` as they do in the scenario.

        Raises
        ------
        UserError
            If they lie neither in the folder nor beside a place that the machine names.
        """
        here = self.here(mine)
        changes: dict[str, object] = {}
        for key in ("path", "pictures"):
            path = getattr(task, key)
            if path is not None and here.path != mine.path and os.path.isabs(path) == os.path.isabs(mine.path or ""):
                path = os.path.normpath(os.path.join(here.path or "", os.path.relpath(path, mine.path)))
            changes[key] = path
        found = task.model_copy(update=changes)
        named = [each for place in self.places.values() for each in (place.path, place.pictures) if each is not None]
        allowed = [self.folder.resolve(), *((self.folder / each).resolve().parent for each in named)]
        root = self.folder / (found.path or "")
        files = [root] if found.parts is None else [root / part for part in found.parts.values()]
        files += [] if found.pictures is None else [self.folder / found.pictures]
        for file in files:
            if not any(file.resolve().is_relative_to(each) for each in allowed):
                raise UserError(
                    f"client '{self.client}': others share its data with {file}, which lies beside no place that this machine "
                    "names; put it there"
                )
        return found

    def is_own(self, task: TaskSettings) -> bool:
        """Tell whether a task's data are the client's own, and not a public source from which all clients of a scenario draw."""
        return not self.whole and task.own
