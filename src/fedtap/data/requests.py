"""What clients' tasks ask for: from which pool each draws, and how many examples. Not here: what they get (partition)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtap.data.allocation import Ints, level_out, share_out
from fedtap.data.groups import Joined
from fedtap.data.reading import Faults
from fedtap.data.site_data import SiteData
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS, Split
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import numpy_generator
from fedtap.scenario.clients import OWN_SOURCES
from fedtap.scenario.scenario import DataSettings, Scenario, TaskSettings

Kind = tuple[Any, ...]
"""What tasks agree in that draw from one pool: source, path, type, modality, columns, classes."""
Place = tuple[str, str]
"""A source of a site's own data, and where they lie."""
MORE_KEYS = ("sheet", "group", "range", "window", "on_unreadable")
"""Keys of a task that make another pool where they are given."""
MOST_OWN = 10_000_000
"""Training examples that a client may claim of a task where the scenario does not say how many there are."""


class _Parts(tuple[tuple[str, str], ...]):
    """The files or folders of a kind, by split, where it has one for each."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's task that draws from a pool."""

    client: str
    task: TaskSettings


def requests(scenario: Scenario, faults: Faults | None = None) -> dict[Kind, list[Request]]:
    """Return the requests by the kind of pool that they draw from, sorted, so that the order of listing means nothing.

    What does not suit its source is raised, or taken down by ``faults``.
    """
    spelled = _spellings(scenario)
    asked: dict[Kind, list[Request]] = {}
    for client in scenario.clients:
        for task in client.tasks:
            try:
                source(task.source).check(task)
            except UserError as error:
                if faults is None:
                    raise
                faults.add(error, f"client '{client.id}'")
                continue
            path = "" if task.path is None else os.path.normpath(task.path)
            kind: Kind = (
                task.source,
                spelled.get(path, path) if task.own else path,
                task.type,
                task.modality,
                tuple(sorted(task.columns.items())),
                task.classes,
            )
            if task.delimiter or task.encoding:
                kind = (*kind, task.delimiter, task.encoding)
            if task.pictures:
                kind = (*kind, "pictures", task.pictures)
            if task.separator or task.references:
                kind = (*kind, "several", task.separator, task.references)
            if task.parts is not None:
                files = {split: os.path.normpath(os.path.join(path, part)) for split, part in task.parts.items()}
                kind = (*kind, _Parts(sorted((split, spelled.get(file, file)) for split, file in files.items())))
            if any(getattr(task, key) is not None for key in MORE_KEYS):
                kind = (*kind, *(repr(getattr(task, key)) for key in MORE_KEYS))
            asked.setdefault(kind, []).append(Request(client.id, task))
    for each in asked.values():
        each.sort(key=lambda request: (request.client, request.task.name))
    return asked


def shared_places(kinds: Iterable[Kind]) -> dict[Kind, Place]:
    """Return, for each kind of a site's own data, the place that it draws from: one for all that have a file or folder in common.

    A place is called by its source and the first of its files; public sources are left out.
    """
    joined: dict[str, Joined] = {}
    files = {kind: _files(kind) for kind in kinds if kind[0] in OWN_SOURCES}
    for kind, (first, *others) in files.items():
        same = joined.setdefault(kind[0], Joined())
        same.of(first)
        for other in others:
            same.join(first, other)
    return {kind: (kind[0], joined[kind[0]].of(first)) for kind, (first, *_) in files.items()}


def _files(kind: Kind) -> list[str]:
    """Return the files or folders that a kind of a site's own data reads."""
    parts = next((each for each in kind if isinstance(each, _Parts)), None)
    return [kind[1]] if parts is None else [file for _, file in parts]


def held(asked: Mapping[Kind, list[Request]], site_data: SiteData) -> dict[Kind, list[Request]]:
    """Return what a client's own tasks draw from: its own data for itself alone, public sources with all that draw from them.

    Where the data there are those of all clients, whoever shares a place with it counts, whatever its task.
    """
    mine = {kind for kind, each in asked.items() if any(request.client == site_data.client for request in each)}
    place = shared_places(asked)
    places = {place[kind] for kind in mine if kind in place} if site_data.whole else set()
    found: dict[Kind, list[Request]] = {}
    for kind, each in asked.items():
        own = [request for request in each if request.client == site_data.client]
        if own:
            found[kind] = own if site_data.is_own(own[0].task) else each
        elif place.get(kind) in places:
            found[kind] = each
    return found


def sizes(asked: Sequence[Request], split: Split, data: DataSettings, seed: int) -> NDArray[np.float64]:
    """Return ``(requests,)`` the examples that each asks for, infinite for all there are; only training sizes are skewed."""
    found = []
    for request in asked:
        size = data.size(request.task, split)
        factor = _quantity(request, split, data, seed)
        found.append(float("inf") if size == "all" else max(1.0, float(round(size * factor))))
    return np.array(found)


def shares(asked: Sequence[Request], split: Split, data: DataSettings, seed: int, available: int) -> Ints:
    """Return ``(requests,)`` the examples that each gets of so many.

    Where all ask for numbers and there are too few, everyone's shrink by one factor; who asks for all gets an even part of what
    the others leave.
    """
    wanted = sizes(asked, split, data, seed)
    if np.isfinite(wanted).all():
        return share_out(wanted.astype(np.int64), available)
    weights = np.array(
        [
            _quantity(request, split, data, seed) if np.isinf(size) else 1.0
            for request, size in zip(asked, wanted, strict=True)
        ]
    )
    return level_out(wanted, weights, available)


def _quantity(request: Request, split: Split, data: DataSettings, seed: int) -> float:
    """Return the factor by which quantity skew changes a size."""
    skew = data.quantity_skew(request.task)
    if split != "train" or not skew:
        return 1.0
    return float(np.exp(skew * numpy_generator(seed, "quantity", request.client, request.task.name).standard_normal()))


def asked_for(scenario: Scenario, seed: int) -> dict[tuple[str, str], dict[Split, int | None]]:
    """Return, for each client and task, the examples of each split that it asks for; None: all there are."""
    every = [Request(client.id, task) for client in scenario.clients for task in client.tasks]
    by_split = {split: sizes(every, split, scenario.data, seed) for split in SPLITS}
    return {
        (request.client, request.task.name): {
            split: None if np.isinf(by_split[split][row]) else int(by_split[split][row]) for split in SPLITS
        }
        for row, request in enumerate(every)
    }


def most_examples(scenario: Scenario, seed: int) -> dict[str, dict[str, int]]:
    """Return, for each client and task, the training examples that it tells of where there are enough: it never has more.

    Of data that are taken whole nobody but their site knows how many there are; then it is :data:`MOST_OWN`.
    """
    found: dict[str, dict[str, int]] = {client.id: {} for client in scenario.clients}
    for (client, task), asked in asked_for(scenario, seed).items():
        size = asked["train"]
        found[client][task] = MOST_OWN if size is None else scenario.privacy.reported(size)
    return found


def most_tested(scenario: Scenario, client: str) -> dict[str, int]:
    """Return, for each task of a client whose test size the scenario says, the examples that it is tested on at the most."""
    sizes_of = {task.name: scenario.data.size(task, "test") for task in scenario.client(client).tasks}
    return {task: size for task, size in sizes_of.items() if size != "all"}


def _spellings(scenario: Scenario) -> dict[str, str]:
    """Return, for each path of clients' own data, the one spelling of the place it leads to: links and ``./`` mean nothing.

    A relative one goes first, so that where a project lies means nothing either.
    """
    paths = {
        os.path.normpath(os.path.join(task.path, part))
        for each in scenario.clients
        for task in each.tasks
        if task.own and task.path
        for part in ("", *(task.parts or {}).values())
    }
    by_place: dict[Any, list[str]] = {}
    for path in sorted(paths, key=lambda path: (os.path.isabs(path), path)):
        by_place.setdefault(_place(scenario.folder / path), []).append(path)
    return {path: spellings[0] for spellings in by_place.values() for path in spellings}


def _place(path: Path) -> Any:
    """Return what two paths to one file or folder agree in."""
    try:
        there = path.stat()
    except OSError:
        return os.path.realpath(path)
    return there.st_dev, there.st_ino
