"""Which client holds which examples, in which split. References only: a user's own pictures are looked at, once, to know them.

Tasks that ask the same of the same source (source, path, columns, classes, type and modality) draw from one pool and no two of
them, on whichever client, hold the same example of it. Splits go by content (``splits.py``) and clients' shares by the run's
seed: training sizes are log-normal around the wanted size, and clients' shares of the strata are drawn from a Dirichlet
distribution (``allocation.py``). A client's validation and test splits follow the strata of its training split, as far as the
pool allows; no stratum fills more than nine tenths of what a client asks for, and no training split of two examples or more has
one class only unless its whole source has. Where the pool is too small, everyone's share of that split shrinks by one factor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fedtap.data.allocation import Ints, fit, mix, proportions, share_out
from fedtap.data.example import Example, Published
from fedtap.data.reading import Faults, Found, Tell, fixed_splits, known_by_pixels, read_source
from fedtap.data.site_data import SiteData
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS, Split, assign, check_disjoint
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import numpy_generator
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import ClientSettings, DataSettings, Scenario, TaskSettings


@dataclass(frozen=True, slots=True)
class TaskSplits:
    """The examples of one client's task, in an order without meaning."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    def __getitem__(self, split: Split) -> tuple[Example, ...]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


MORE_KEYS = ("sheet", "parts", "group", "range", "window", "on_unreadable")
"""Keys of a task that make another pool where they are given."""
Partition = Mapping[str, Mapping[str, TaskSplits]]


@dataclass(frozen=True, slots=True)
class _Request:
    """A client's task that draws from a pool."""

    client: str
    task: TaskSettings


@dataclass(frozen=True, slots=True)
class _Pool:
    """The examples for one kind of task, by split and stratum.

    ``rows[split][stratum]`` are positions in ``examples``, shuffled by the run's seed.
    """

    examples: Sequence[Example]
    rows: Mapping[Split, Sequence[Ints]]

    def capacity(self, split: Split) -> Ints:
        """Return ``(strata,)`` the number of examples of a split."""
        return np.array([len(rows) for rows in self.rows[split]], dtype=np.int64)


def _unheard(event: dict[str, Any]) -> None:
    """Tell nobody."""


def partition(scenario: Scenario, seed: int, site_data: SiteData | None = None, *, tell: Tell = _unheard) -> Partition:
    """Share a scenario's data out among its clients, the unseen ones included.

    The result depends on the scenario's content and the seed, not on the order in which clients or tasks are listed. With a
    ``site_data`` only the data of that client are looked at, and shared out just as they would be among all: its own data go to
    itself; of a public source it takes the share that the whole scenario gives it.

    Parameters
    ----------
    scenario
        The federation.
    seed
        The run's seed.
    site_data
        The one client whose data are on this machine; None: all are.
    tell
        Called with what is to be known of the data: examples that were skipped, remarks, progress.

    Returns
    -------
    Partition
        Client id -> task name -> its three splits, in the scenario's order; with a site_data, of its client only.

    Raises
    ------
    UserError
        If a task does not suit its source, data are missing or wrong, or a client would be left with an empty split: all that
        is wrong, together (:class:`fedtap.data.intake.DataError`).
    """
    faults = Faults()
    asked = _requests(scenario, faults)
    if site_data is not None:
        asked = _held(asked, site_data)
    found = known_by_pixels(_read_all(asked, scenario, site_data, faults, tell))
    published = fixed_splits(found, scenario.data.split)
    given: dict[tuple[str, str], TaskSplits] = {}
    for kind in found:
        try:
            pool = _pool(found[kind], scenario.data, published, seed, kind)
            given.update(_divide(pool, asked[kind], scenario.data, seed))
        except UserError as error:
            faults.add(error)
    faults.refuse()
    check_disjoint(
        (f"client '{client}', task '{task}'", split, splits[split])
        for (client, task), splits in given.items()
        for split in SPLITS
    )
    clients = scenario.clients if site_data is None else (scenario.client(site_data.client),)
    return {client.id: {task.name: given[client.id, task.name] for task in client.tasks} for client in clients}


def fingerprints(shares: Partition) -> dict[str, str]:
    """Return for each client a digest of its examples: inputs, targets and splits, in their order."""
    return {
        client: digest(
            *(
                digest(task, split, *(repr(example.identity) for example in splits[split]))
                for task, splits in sorted(tasks.items())
                for split in SPLITS
            )
        )
        for client, tasks in shares.items()
    }


def most_examples(scenario: Scenario, seed: int) -> dict[str, dict[str, int]]:
    """Return, for each client and task, the training examples that it tells of where there are enough: it never has more."""
    requests = [_Request(client.id, task) for client in scenario.clients for task in client.tasks]
    found: dict[str, dict[str, int]] = {client.id: {} for client in scenario.clients}
    for request, size in zip(requests, _sizes(requests, "train", scenario.data, seed).tolist(), strict=True):
        found[request.client][request.task.name] = scenario.privacy.reported(size)
    return found


def most_tested(client: ClientSettings, data: DataSettings) -> dict[str, int]:
    """Return, for each task of a client, the examples that it is tested on where there are enough: it never has more."""
    requests = [_Request(client.id, task) for task in client.tasks]
    sizes = _sizes(requests, "test", data, 0)  # the seed skews training sizes alone
    return {task.name: int(size) for task, size in zip(client.tasks, sizes, strict=True)}


def _held(
    asked: Mapping[tuple[Any, ...], list[_Request]], site_data: SiteData
) -> dict[tuple[Any, ...], list[_Request]]:
    """Return what a client's own tasks draw from: its own data for itself alone, public sources with all that draw from them."""
    found: dict[tuple[Any, ...], list[_Request]] = {}
    for kind, requests in asked.items():
        own = [request for request in requests if request.client == site_data.client]
        if own:
            found[kind] = own if site_data.is_own(own[0].task) else requests
    return found


def _read_all(
    asked: Mapping[tuple[Any, ...], list[_Request]],
    scenario: Scenario,
    site_data: SiteData | None,
    faults: Faults,
    tell: Tell,
) -> Found:
    """Return the examples of each kind of pool that is sound."""
    found: Found = {}
    for kind, requests in asked.items():
        task, folder = requests[0].task, scenario.folder
        try:
            if site_data is not None:
                task, folder = _here(requests, site_data), site_data.folder
        except UserError as error:
            faults.add(error)
            continue
        examples = read_source(
            partial(source(task.source).read, task, folder),
            who=[f"client '{request.client}', task '{request.task.name}'" for request in requests],
            task=task,
            skip=scenario.data.on_unreadable == "skip",
            faults=faults,
            tell=tell,
        )
        if examples is not None:
            found[kind] = examples
    return found


def _here(requests: Sequence[_Request], site_data: SiteData) -> TaskSettings:
    own = [site_data.here(request.task) for request in requests if request.client == site_data.client]
    for task in own[1:]:
        if (task.path, task.columns) != (own[0].path, own[0].columns):
            raise UserError(
                f"client '{site_data.client}': tasks '{own[0].name}' and '{task.name}' draw from one source in the scenario; "
                "give both the same path and columns"
            )
    return own[0]


def _requests(scenario: Scenario, faults: Faults) -> dict[tuple[Any, ...], list[_Request]]:
    """Return the requests by the kind of pool that they draw from, sorted, so that the order of listing means nothing."""
    asked: dict[tuple[Any, ...], list[_Request]] = {}
    for client in scenario.clients:
        for task in client.tasks:
            try:
                source(task.source).check(task)
            except UserError as error:
                faults.add(error, f"client '{client.id}'")
                continue
            path = "" if task.path is None else os.path.normpath(task.path)
            kind: tuple[Any, ...] = (
                task.source,
                path,
                task.type,
                task.modality,
                tuple(sorted(task.columns.items())),
                task.classes,
            )
            if task.delimiter or task.encoding:
                kind = (*kind, task.delimiter, task.encoding)
            if any(getattr(task, key) is not None for key in MORE_KEYS):
                kind = (*kind, *(repr(getattr(task, key)) for key in MORE_KEYS))
            asked.setdefault(kind, []).append(_Request(client.id, task))
    for requests in asked.values():
        requests.sort(key=lambda request: (request.client, request.task.name))
    return asked


def _pool(
    examples: Sequence[Example],
    data: DataSettings,
    published: Mapping[str, Published],
    seed: int,
    kind: tuple[Any, ...],
) -> _Pool:
    places: dict[str, int] = {}  # many examples have one key, and hashing it once is enough
    for example in examples:
        if example.key not in places:
            places[example.key] = SPLITS.index(assign(example, data.split, published))
    place = np.array([places[example.key] for example in examples])
    names, strata = np.unique(np.array([example.stratum for example in examples]), return_inverse=True)
    rows: dict[Split, list[Ints]] = {}
    for index, split in enumerate(SPLITS):
        shuffled = numpy_generator(seed, "pool", repr(kind), split).permutation(np.flatnonzero(place == index))
        order = shuffled[np.argsort(strata[shuffled], kind="stable")]
        rows[split] = np.split(order, np.searchsorted(strata[order], np.arange(1, names.size)))
    return _Pool(examples, rows)


def _divide(
    pool: _Pool, requests: Sequence[_Request], data: DataSettings, seed: int
) -> dict[tuple[str, str], TaskSplits]:
    """Return the splits of every request to one pool."""
    wanted = _wanted(pool, requests, data, seed)
    taken: dict[Split, list[Ints]] = {}
    for split in SPLITS:
        capacity = pool.capacity(split)
        sizes = share_out(_sizes(requests, split, data, seed), int(capacity.sum()))
        for request, size in zip(requests, sizes, strict=True):
            if size == 0:
                raise UserError(_too_few(request, split, int(capacity.sum()), len(requests)))
        counts = fit(wanted, sizes, capacity)
        if split == "train":
            mix(counts, capacity)
            wanted = counts / sizes[:, None]  # a client is tested on the classes that it did get to train on
        taken[split] = _take(pool.rows[split], counts)
    return {
        (request.client, request.task.name): TaskSplits(
            *(_pick(pool, taken[split][index], seed, request, split) for split in SPLITS)
        )
        for index, request in enumerate(requests)
    }


def _wanted(
    pool: _Pool, requests: Sequence[_Request], data: DataSettings, seed: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ``(requests, strata)`` the shares of the strata that each asks for."""
    capacity = pool.capacity("train")
    natural = capacity / max(1, int(capacity.sum()))
    if not natural.any():
        return np.zeros((len(requests), capacity.size))
    return np.stack(
        [
            proportions(natural, data.dirichlet, numpy_generator(seed, "label skew", request.client, request.task.name))
            for request in requests
        ]
    )


def _sizes(requests: Sequence[_Request], split: Split, data: DataSettings, seed: int) -> Ints:
    """Return ``(requests,)`` the examples that each asks for; only training sizes are skewed."""
    sizes = []
    for request in requests:
        size: float = getattr(request.task, split) or getattr(data, split)
        if split == "train":
            draw = numpy_generator(seed, "quantity", request.client, request.task.name).standard_normal()
            size *= float(np.exp(data.quantity * draw))
        sizes.append(max(1, round(size)))
    return np.array(sizes, dtype=np.int64)


def _take(rows: Sequence[Ints], counts: Ints) -> list[Ints]:
    """Cut each stratum's rows into consecutive pieces of the given counts; return each client's rows."""
    pieces = [np.split(row, np.cumsum(counts[:, stratum])) for stratum, row in enumerate(rows)]
    return [np.concatenate([piece[client] for piece in pieces]) for client in range(len(counts))]


def _pick(pool: _Pool, rows: Ints, seed: int, request: _Request, split: Split) -> tuple[Example, ...]:
    """Return examples in an order free of strata, so that any first part of them is a fair sample."""
    generator = numpy_generator(seed, "order", request.client, request.task.name, split)
    return tuple(pool.examples[row] for row in generator.permutation(rows))


def _too_few(request: _Request, split: Split, available: int, asking: int) -> str:
    many = f"{available} {split} example{'' if available == 1 else 's'} for {asking} client task{'' if asking == 1 else 's'}"
    return (
        f"client '{request.client}', task '{request.task.name}': the {split} split would be empty "
        f"(source '{request.task.source}' has {many}); add examples, take fewer clients, or change data.split"
    )
