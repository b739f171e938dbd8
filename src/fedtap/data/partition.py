"""Which client holds which examples, in which split. References only: a user's own pictures are looked at, once, to know them.

Tasks that ask the same of the same source (source, path, columns, classes, type and modality) draw from one pool and no two of
them, on whichever client, hold the same example of it. Splits go by content (``splits.py``) and clients' shares by the run's
seed.

A site's own data (``csv``, ``jsonl``, ``xlsx``, ``folder``, ``dataset``) are taken whole, in the mix that they have; clients that
name one file or folder get even parts of it, and where they ask different things of it, every content of it goes to one of them
first.

Of other sources, and wherever the scenario asks for it by name, so many examples are taken: training sizes are log-normal around
the wanted size, and clients' shares of the strata are drawn from a Dirichlet distribution (``allocation.py``). Where a mix is
drawn, a client's validation and test splits follow the strata of its training split, as far as the pool allows; no stratum fills
more than nine tenths of what a client asks for, and no training split of two examples or more has one class only unless its
whole source has. Where the pool is too small, everyone's share of that split shrinks by one factor. Last come the dials by which
clients contradict each other (``dials/``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fedtap.data.allocation import Floats, Ints, fit, mix, proportions
from fedtap.data.dials.turns import Turn, turned
from fedtap.data.example import Example, Published
from fedtap.data.reading import Faults, Found, Tell, fixed_splits, known_by_pixels, read_source
from fedtap.data.requests import Kind, Place, Request, held, requests, shared_places, shares
from fedtap.data.site_data import SiteData
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS, Split, assign, check_disjoint
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import numpy_generator
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import DataSettings, Scenario, TaskSettings


@dataclass(frozen=True, slots=True)
class TaskSplits:
    """The examples of one client's task, in an order without meaning."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    def __getitem__(self, split: Split) -> tuple[Example, ...]:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def turned(self, turn: Turn) -> TaskSplits:
        """Return them with each example turned by the client's dials."""
        return TaskSplits(*(tuple(turn(example) for example in self[split]) for split in SPLITS))


Partition = Mapping[str, Mapping[str, TaskSplits]]


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
        If a task does not suit its source, data are missing or wrong, or a client would be left with an empty split: all
        that is wrong, together (:class:`fedtap.data.sources.intake.DataError`).
    """
    faults = Faults()
    asked = requests(scenario, faults)
    if site_data is not None:
        asked = held(asked, site_data)
    found = read_all(scenario, asked, faults, tell, site_data)
    given = share(scenario, {kind: asked[kind] for kind in found}, found, seed, faults)
    faults.refuse()
    clients = scenario.clients if site_data is None else (scenario.client(site_data.client),)
    return {client.id: {task.name: given[client.id, task.name] for task in client.tasks} for client in clients}


def share(
    scenario: Scenario, asked: Mapping[Kind, list[Request]], found: Found, seed: int, faults: Faults
) -> dict[tuple[str, str], TaskSplits]:
    """Return, by client and task, what each request gets of the examples that were found for its kind.

    Who would get nothing of a split gets nothing at all, and ``faults`` are told.
    """
    turns = turned(scenario, seed)
    found = known_by_pixels(found)
    published = fixed_splits(found, scenario.data.split)
    given: dict[tuple[str, str], TaskSplits] = {}
    places = shared_places(asked)
    owners = _owners(asked, places, found, scenario.data, published, seed, faults)
    for kind, each in asked.items():
        for examples, own in _parts(each, found[kind], owners.get(places.get(kind))):
            pool = _pool(examples, scenario.data, published, seed, kind)
            try:
                given.update(_divide(pool, own, scenario.data, seed))
            except UserError as error:
                faults.add(error)
    check_disjoint(
        (f"client '{client}', task '{task}'", split, splits[split])
        for (client, task), splits in given.items()
        for split in SPLITS
    )
    return {place: splits.turned(turns[place]) if place in turns else splits for place, splits in given.items()}


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


def read_all(
    scenario: Scenario,
    asked: Mapping[Kind, list[Request]],
    faults: Faults,
    tell: Tell,
    site_data: SiteData | None = None,
) -> Found:
    """Return the examples of each kind of pool that is sound; what is wrong with the others ``faults`` are told."""
    found: Found = {}
    for kind, each in asked.items():
        task, folder = each[0].task, scenario.folder
        try:
            if site_data is not None:
                task, folder = _here(kind, asked, site_data), site_data.folder
        except UserError as error:
            faults.add(error)
            continue
        examples = read_source(
            partial(source(task.source).read, task, folder),
            who=[(request.client, request.task.name) for request in each],
            task=task,
            skip=scenario.data.on_unreadable == "skip",
            faults=faults,
            tell=tell,
        )
        if examples is not None:
            found[kind] = examples
    return found


def _here(kind: Kind, asked: Mapping[Kind, list[Request]], site_data: SiteData) -> TaskSettings:
    """Return the task by which a pool is read on one client's machine: its data lie where the machine says."""
    own = [site_data.here(request.task) for request in asked[kind] if request.client == site_data.client]
    if not own:  # of others, with whom it shares a place
        places = shared_places(asked)
        neighbours = (request for other in asked if places.get(other) == places[kind] for request in asked[other])
        mine = next(each.task for each in neighbours if each.client == site_data.client)
        return site_data.beside(asked[kind][0].task, mine)
    for task in own[1:]:
        if (task.path, task.columns) != (own[0].path, own[0].columns):
            raise UserError(
                f"client '{site_data.client}': tasks '{own[0].name}' and '{task.name}' draw from one source in the scenario; "
                "give both the same path and columns"
            )
    return own[0]


def _owners(
    asked: Mapping[Kind, list[Request]],
    places: Mapping[Kind, Place],
    found: Mapping[Kind, Sequence[Example]],
    data: DataSettings,
    published: Mapping[str, Published],
    seed: int,
    faults: Faults,
) -> dict[Place | None, dict[str, str]]:
    """Return, for the places of which several clients ask different things, to which of them each content belongs.

    What only some of them can use is dealt among these; every split and stratum by itself, in turn.
    """
    kinds: dict[Place, list[Kind]] = {}
    for kind in sorted(places, key=repr):
        kinds.setdefault(places[kind], []).append(kind)
    owners: dict[Place | None, dict[str, str]] = {}
    for place, sharing in kinds.items():
        clients = {request.client for kind in sharing for request in asked[kind]}
        if len(sharing) == 1 or len(clients) == 1:
            continue
        _refuse_skew(place, [request for kind in sharing for request in asked[kind]], data, faults)
        usable: dict[str, set[str]] = {}
        cells: dict[str, tuple[Split, int]] = {}
        for kind in sharing:
            takers = {request.client for request in asked[kind]}
            for example in found[kind]:
                usable.setdefault(example.key, set()).update(takers)
                if example.key not in cells:
                    cells[example.key] = (assign(example, data.split, published), example.stratum)
        hands: dict[tuple[Any, ...], list[str]] = {}
        for key in sorted(usable):
            hands.setdefault((tuple(sorted(usable[key])), cells[key]), []).append(key)
        owners[place] = {}
        for number, ((takers, cell), keys) in enumerate(sorted(hands.items())):
            order = numpy_generator(seed, "owners", *place, repr((takers, cell))).permutation(len(keys))
            for turn, row in enumerate(order.tolist(), start=number):
                owners[place][keys[row]] = takers[turn % len(takers)]
    return owners


def _refuse_skew(place: Place, sharing: Sequence[Request], data: DataSettings, faults: Faults) -> None:
    """Refuse a label mix that could not be given to those who share a place, ask different things of it, and take all."""
    for request in sharing:
        if data.label_skew(request.task) is not None and data.size(request.task, "train") == "all":
            faults.add(
                UserError(
                    f"client '{request.client}', task '{request.task.name}': others ask other things of {place[1]}, and of a "
                    "shared place that is taken whole no label mix can be drawn; leave out data.dirichlet, give each client a "
                    "folder of its own, or say how many to take with 'train'"
                )
            )


def _parts(
    asked: Sequence[Request], examples: Sequence[Example], owners: Mapping[str, str] | None
) -> list[tuple[Sequence[Example], Sequence[Request]]]:
    """Return what of a pool is for whom: all for all, or to each client what belongs to it."""
    if owners is None:
        return [(examples, asked)]
    return [
        (
            [example for example in examples if owners[example.key] == client],
            [request for request in asked if request.client == client],
        )
        for client in sorted({request.client for request in asked})
    ]


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


def _divide(pool: _Pool, asked: Sequence[Request], data: DataSettings, seed: int) -> dict[tuple[str, str], TaskSplits]:
    """Return the splits of every request to one pool."""
    mixed = data.label_skew(asked[0].task) is not None  # the same for all: a pool is of one source
    wanted = _wanted(pool, asked, data, seed)
    taken: dict[Split, list[Ints]] = {}
    for split in SPLITS:
        capacity = pool.capacity(split)
        sizes = shares(asked, split, data, seed, int(capacity.sum()))
        for request, size in zip(asked, sizes, strict=True):
            if size == 0:
                raise UserError(_too_few(request, split, int(capacity.sum()), len(asked)))
        counts = fit(wanted if mixed else _natural(capacity, len(asked)), sizes, capacity)
        if split == "train":
            mix(counts, capacity)
            wanted = counts / sizes[:, None]  # a client is tested on the classes that it did get to train on
        taken[split] = _take(pool.rows[split], counts)
    return {
        (request.client, request.task.name): TaskSplits(
            *(_pick(pool, taken[split][index], seed, request, split) for split in SPLITS)
        )
        for index, request in enumerate(asked)
    }


def _natural(capacity: Ints, rows: int) -> Floats:
    """Return ``(rows, strata)`` the shares of the strata as they are in a pool, for each."""
    return np.tile(capacity / max(1, int(capacity.sum())), (rows, 1))


def _wanted(pool: _Pool, asked: Sequence[Request], data: DataSettings, seed: int) -> Floats:
    """Return ``(requests, strata)`` the shares of the strata that each asks for."""
    wanted = _natural(pool.capacity("train"), len(asked))
    if not wanted.any():
        return wanted
    for row, request in enumerate(asked):
        skew = data.label_skew(request.task)
        if skew is not None:
            generator = numpy_generator(seed, "label skew", request.client, request.task.name)
            wanted[row] = proportions(wanted[row], skew, generator)
    return wanted


def _take(rows: Sequence[Ints], counts: Ints) -> list[Ints]:
    """Cut each stratum's rows into consecutive pieces of the given counts; return each client's rows."""
    pieces = [np.split(row, np.cumsum(counts[:, stratum])) for stratum, row in enumerate(rows)]
    return [np.concatenate([piece[client] for piece in pieces]) for client in range(len(counts))]


def _pick(pool: _Pool, rows: Ints, seed: int, request: Request, split: Split) -> tuple[Example, ...]:
    """Return examples in an order free of strata, so that any first part of them is a fair sample."""
    generator = numpy_generator(seed, "order", request.client, request.task.name, split)
    return tuple(pool.examples[row] for row in generator.permutation(rows))


def _too_few(request: Request, split: Split, available: int, asking: int) -> str:
    many = f"{available} {split} example{'' if available == 1 else 's'} for {asking} client task{'' if asking == 1 else 's'}"
    return (
        f"client '{request.client}', task '{request.task.name}': the {split} split would be empty "
        f"(source '{request.task.source}' has {many}); add examples, take fewer clients, or change data.split"
    )
