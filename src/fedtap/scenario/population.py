"""From the clients that a scenario lists to those that there are: counts, population, tasks per client.

Both keys keep the examples of every listed client and task as they are in all, and only change among how many clients they lie
and how many tasks each of these holds: what a sweep over either key compares is then not a matter of more or less data. Clients
that are held out of training stay as they are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import gcd

from fedtap.scenario.clients import ClientSettings, Size, TaskSettings
from fedtap.scenario.data import SIZES, SplitName
from fedtap.scenario.settings import NAME

SizeOf = Callable[[TaskSettings, SplitName], Size]
"""How many examples of a split a task asks for."""


def expand_population(
    listed: Sequence[ClientSettings],
    *,
    size: SizeOf,
    population: int | None = None,
    tasks_per_client: int | None = None,
) -> tuple[ClientSettings, ...]:
    """Return the clients of a federation, each with a count of one. What it returns it leaves as it is.

    Parameters
    ----------
    listed
        As the scenario lists them; a client with a count stands for that many.
    size
        Gives the examples that a task of one listed client asks for. Where that is all there are, those that it is shared out
        among ask for all, and share it.
    population
        How many clients train. Each listed client is shared out among equally many, the first among one more where the number
        does not divide; they hold its tasks, and its examples between them.
    tasks_per_client
        How many tasks a client holds at the most. The tasks of a listed client are then dealt in turn to those that it stands
        for (:func:`deal`), and the examples of a task are shared out among those that hold it.

    Raises
    ------
    ValueError
        If there are more listed clients than the population, fewer clients than it takes to hold all tasks, or fewer examples
        than it takes to give each client one.
    """
    training = sum(client.count for client in listed if not client.unseen)
    population = training if population is None else population
    most = max((len(client.tasks) for client in listed if not client.unseen), default=1)
    tasks_per_client = most if tasks_per_client is None else tasks_per_client
    if population < training:
        raise ValueError(f"population={population} is less than the {training} clients listed; raise it, or list fewer")
    if tasks_per_client > most:
        raise ValueError(f"tasks_per_client={tasks_per_client} is more than any client lists; the most is {most}")
    copies, more = divmod(population, max(1, training))
    found: list[ClientSettings] = []
    place = 0
    for client in listed:
        if client.unseen:
            found += _numbered(client, [client.tasks] * client.count)
            continue
        number = copies * client.count + min(max(more - place, 0), client.count)
        place += client.count
        found += _numbered(client, _tasks(client, number, min(tasks_per_client, len(client.tasks)), size))
    return tuple(found)


def deal(clients: int, *, tasks: int, each: int) -> list[list[int]]:
    """Return which of a pool's tasks each client holds: consecutive ones, dealt in turn, a different cut each lap.

    Two tasks' numbers of holders differ by one at the most, whatever the numbers.

    >>> deal(6, tasks=4, each=2)
    [[0, 1], [2, 3], [1, 2], [3, 0], [2, 3], [0, 1]]
    """
    lap = tasks // gcd(tasks, each)  # after so many clients every task was dealt equally often
    starts = [client * each + client // lap for client in range(clients)]
    return [[(start + step) % tasks for step in range(each)] for start in starts]


def _tasks(client: ClientSettings, number: int, each: int, size: SizeOf) -> list[tuple[TaskSettings, ...]]:
    """Return the tasks, with their sizes, of each of the clients that a listed one becomes."""
    if number == client.count and each == len(client.tasks):
        return [client.tasks] * number
    hands = deal(number, tasks=len(client.tasks), each=each)
    holders = Counter(position for hand in hands for position in hand)
    if len(holders) < len(client.tasks):
        needed = -(-len(client.tasks) // each)
        raise ValueError(
            f"tasks_per_client={each}: it takes {needed} clients to hold the {len(client.tasks)} tasks of '{client.id}', and "
            f"there {'is' if number == 1 else 'are'} {number}; raise its count, population or tasks_per_client"
        )
    shares = {
        position: _shares(client, client.tasks[position], holders[position], size)
        for position in range(len(client.tasks))
    }
    # In the order of the listing, so that only what a client holds can make a difference.
    return [tuple(shares[position].pop(0) for position in sorted(hand)) for hand in hands]


def _shares(client: ClientSettings, task: TaskSettings, holders: int, size: SizeOf) -> list[TaskSettings]:
    """Return a task once for each that holds it, with sizes that sum to those of the listed client."""
    found: list[dict[str, int]] = [{} for _ in range(holders)]
    for split in SIZES:
        asked = size(task, split)
        if asked == "all":
            continue
        total = client.count * asked
        if total < holders:
            raise ValueError(
                f"client '{client.id}', task '{task.name}': {total} {split} examples cannot be shared out among {holders} "
                f"clients; raise data.{split}, or lower population"
            )
        for index, share in enumerate(found):
            share[split] = total // holders + (index < total % holders)
    return [task.model_copy(update=share) for share in found]


def _numbered(client: ClientSettings, tasks: Sequence[tuple[TaskSettings, ...]]) -> list[ClientSettings]:
    """Return a client for each entry of ``tasks``; more than one have a number in their ids."""
    if len(tasks) == 1:
        return [client.model_copy(update={"tasks": tasks[0], "count": 1})]
    width = max(3, len(str(len(tasks) - 1)))
    if not NAME.fullmatch(f"{client.id}-{0:0{width}d}"):
        raise ValueError(f"'{client.id}' is too long for an id with a number; at most {63 - width} characters")
    return [
        client.model_copy(update={"id": f"{client.id}-{index:0{width}d}", "tasks": own, "count": 1})
        for index, own in enumerate(tasks)
    ]
