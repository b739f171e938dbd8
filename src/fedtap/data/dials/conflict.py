r"""Conflict: of those who share a head, some call its classes by each other's names.

Of the n clients that share a head, :math:`round(share \cdot n)` are drawn by the run's seed. Each of these exchanges
:math:`\max(2, round(share \cdot C))` of the C classes in one cycle of its own, so that none of them keeps its name. Of two
classes there is but one exchange, and all clients in conflict agree on it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedtap.data.sources import source
from fedtap.runtime.errors import UserError
from fedtap.runtime.randomness import numpy_generator
from fedtap.scenario.scenario import Scenario

Names: TypeAlias = NDArray[np.int64]
"""What each class is called, ``(classes,)``."""


def exchanged(scenario: Scenario, seed: int) -> dict[tuple[str, str], Names]:
    """Return, for each client and task in conflict, what each class is called there.

    Raises
    ------
    UserError
        If ``data.conflict`` names a task whose classes no two clients share.
    """
    conflict = scenario.data.conflict
    if conflict is None:
        return {}
    holders: dict[str, set[str]] = {}
    tasks: dict[str, list[tuple[str, str]]] = {}
    classes: dict[str, int] = {}
    for client in scenario.clients:
        for task in client.tasks:
            if task.type == "classification" and (conflict.tasks is None or task.name in conflict.tasks):
                holders.setdefault(task.pair.head, set()).add(client.id)
                tasks.setdefault(task.pair.head, []).append((client.id, task.name))
                classes[task.pair.head] = len(source(task.source).classes(task))
    shared = [head for head in sorted(holders) if len(holders[head]) > 1]
    for wanted in conflict.tasks or ():
        if wanted not in {name for head in shared for _, name in tasks[head]}:
            raise UserError(
                f"data.conflict.tasks: '{wanted}' is no classification task that several clients share; name one that is, or "
                "leave out the key for all of them"
            )
    found: dict[tuple[str, str], Names] = {}
    for head in shared:
        clients = sorted(holders[head])
        order = numpy_generator(seed, "conflict", head).permutation(len(clients))
        drawn = {clients[place] for place in order[: round(conflict.clients * len(clients))]}
        for holder, name in tasks[head]:
            if holder in drawn and conflict.classes > 0:
                generator = numpy_generator(seed, "conflict", head, holder)
                found[holder, name] = exchange(classes[head], conflict.classes, generator)
    return found


def exchange(classes: int, share: float, generator: np.random.Generator) -> Names:
    """Return what each class is called where a share of them, two at the least, have gone round in one cycle, ``(classes,)``.

    >>> called = exchange(5, 0.6, np.random.default_rng(0))
    >>> sorted(called.tolist()), int((called != np.arange(5)).sum())
    ([0, 1, 2, 3, 4], 3)
    """
    called = np.arange(classes)
    moved = generator.permutation(classes)[: max(2, round(share * classes))]
    called[moved] = np.roll(moved, 1)
    return called
