"""From what each site's data are taken for to a federation: ids, which sites share a task, names, and a schedule for its size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedtap.data.guess.columns import natural
from fedtap.data.guess.roles import GuessedTask, guess_task
from fedtap.data.guess.seen import TABLES, look
from fedtap.pairs import CLASSIFIES
from fedtap.runtime.errors import UserError
from fedtap.scenario.settings import NAME

MOST_AT_ONCE = 4
TOKENS = (32, 64, 128, 256)
ANSWERS = (24, 48, 96)
_TOKENS_A_WORD = 1.4


@dataclass(frozen=True, slots=True)
class GuessedClient:
    """A site: its id, the place of its data, and its tasks by their names in the scenario."""

    id: str
    place: Path
    tasks: Mapping[str, GuessedTask]


@dataclass(frozen=True, slots=True)
class GuessedFederation:
    """A federation: its clients, what is told of them together, and the settings that follow from the size of the data."""

    clients: Sequence[GuessedClient]
    domains: Mapping[str, str]
    shared: Mapping[str, Sequence[str]]
    notes: Sequence[str]
    batch_size: int
    text_tokens: int
    answer_tokens: int
    split: tuple[float, float, float] | None = field(default=None)

    @property
    def clients_per_round(self) -> int:
        """How many train in a round."""
        return min(MOST_AT_ONCE, len(self.clients))


def guess_federation(places: Sequence[str]) -> GuessedFederation:
    """Return the federation of sites whose data lie at these places, ``PATH`` or ``ID=PATH`` each.

    Raises
    ------
    UserError
        If something does not lie there, cannot be read, or nothing in it could be an answer.
    """
    sites = _named([_place(each) for each in places])
    found = {id: [guess_task(seen) for seen in look(place)] for id, place in sites.items()}
    groups, notes = _groups([(id, task) for id, tasks in found.items() for task in tasks])
    names = _names(groups)
    clients = []
    for id, place in sites.items():
        own = {name: task for name, group in zip(names, groups, strict=True) for client, task in group if client == id}
        clients.append(GuessedClient(id, place, own))
    tasks = [task for each in clients for task in each.tasks.values()]
    smallest = min(sum(task.rows for task in each.tasks.values()) for each in clients)
    return GuessedFederation(
        clients=clients,
        domains={name: _plain_name(group[0][1].path.stem) for name, group in zip(names, groups, strict=True)},
        shared={
            name: [client for client, _ in group] for name, group in zip(names, groups, strict=True) if len(group) > 1
        },
        notes=notes,
        batch_size=max(size for size in (4, 8, 16, 32) if size == 4 or size <= smallest // 2),
        text_tokens=_enough(TOKENS, max(task.words for task in tasks)),
        answer_tokens=_enough(ANSWERS, max(task.answer_words for task in tasks)),
    )


def _place(given: str) -> tuple[str | None, Path]:
    """Return the id and the path of what was given; a path that is there goes before a name."""
    id, equals, path = given.partition("=")
    if not equals or Path(given).exists() or not NAME.fullmatch(id):
        return None, Path(given)
    return id, Path(path)


def _named(places: Sequence[tuple[str | None, Path]]) -> dict[str, Path]:
    """Return the places by ids: those given, or what files and folders are called; where that is twice, with their folder's."""
    wanted: list[str] = []
    for id, place in places:
        whole = place.resolve()
        wanted.append(id or _plain_name(whole.stem if whole.suffix.lower() in TABLES else whole.name))
    counts = Counter(name.casefold() for name in wanted)
    sites: dict[str, Path] = {}
    for (id, place), name in zip(places, wanted, strict=True):
        if id is None and counts[name.casefold()] > 1:
            name = _plain_name(place.resolve().parent.name)
        if name.casefold() in (each.casefold() for each in sites):
            raise UserError(f"--from {place}: another site is called '{name}' too; name this one: --from ID={place}")
        sites[name] = place
    return sites


def _plain_name(name: str) -> str:
    """Return a name of which a file can be called.

    >>> _plain_name("Ward 3 (notes)"), _plain_name("科")
    ('Ward-3-notes', 'site')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:48]
    return plain if NAME.fullmatch(plain) else "site"


Member = tuple[str, GuessedTask]


def _groups(tasks: Sequence[Member]) -> tuple[list[list[Member]], list[str]]:
    """Return the tasks that are the same at several sites together, and what is to be said of those that nearly are.

    Tasks of one type and modality are the same if their class sets are, or those of one hold the other's and the answers are
    called alike. A site's own two tasks stay two.
    """
    groups: list[list[Member]] = []
    notes: list[str] = []
    for id, task in sorted(tasks, key=lambda each: -len(each[1].classes)):  # the larger class set first
        home = next(
            (group for group in groups if id not in (other for other, _ in group) and _same(group[0][1], task)), None
        )
        if home is None:
            groups.append([(id, task)])
        else:
            if set(task.classes) != set(home[0][1].classes):
                lacking = sorted(set(home[0][1].classes) - set(task.classes), key=natural)
                notes.append(
                    f"{id} has no example of {', '.join(lacking[:5])}, and shares the task of {home[0][0]} all the same"
                )
            home.append((id, task))
    for at, group in enumerate(groups):
        for other in groups[at + 1 :]:
            notes += _nearly(group[0], other[0])
    order = {member: number for number, member in enumerate(id for id, _ in tasks)}
    whole = [
        [
            (id, replace(task, classes=group[0][1].classes, scale=_scale_of(group)))
            for id, task in sorted(group, key=lambda each: order[each[0]])
        ]
        for group in groups
    ]
    return sorted(whole, key=lambda group: order[group[0][0]]), notes


def _scale_of(group: Sequence[Member]) -> tuple[float, float] | None:
    """Return the scale that holds those of all members; None where they have none."""
    scales = [task.scale for _, task in group if task.scale is not None]
    return (min(low for low, _ in scales), max(high for _, high in scales)) if scales else None


def _same(one: GuessedTask, other: GuessedTask) -> bool:
    if (one.type, one.modality) != (other.type, other.modality):
        return False
    if one.type == "reconstruction":
        return True
    if one.type == "text_generation":
        return one.columns == other.columns
    if one.type == "regression":
        return one.columns.get("target") == other.columns.get("target")
    known, asked = set(one.classes), set(other.classes)
    return known == asked or (
        len(asked) > 1 and known > asked and one.columns.get("label") == other.columns.get("label")
    )


def _nearly(one: Member, other: Member) -> list[str]:
    """Return what is to be said of two tasks that share classes, or would but for the case of their letters."""
    first, second = (set(member[1].classes) for member in (one, other))
    who = f"{one[0]} and {other[0]}"
    if one[1].type not in CLASSIFIES or one[1].type != other[1].type or one[0] == other[0]:
        return []
    if first & second:
        alike = ", ".join(sorted(first & second, key=natural)[:3])
        return [
            f"{who} have classes in common ({alike}) and others that they have not: two tasks; to share one, give both all "
            "classes and one name"
        ]
    if {name.casefold() for name in first} == {name.casefold() for name in second}:
        return [f"the classes of {who} differ in capitals alone: two tasks; write them alike in the data to share one"]
    return []


def _names(groups: Sequence[Sequence[Member]]) -> list[str]:
    """Return a name for each task: what its members are called most often, with a number where two are called alike."""
    names: list[str] = []
    for group in groups:
        (name, _), *_ = Counter(_plain_name(task.about) for _, task in group).most_common(1)
        number = 1
        while (name if number == 1 else f"{name}-{number}") in names:
            number += 1
        names.append(name if number == 1 else f"{name}-{number}")
    return names


def _enough(sizes: Sequence[int], words: int) -> int:
    """Return the least of some sizes that so many words fit into, a word being a token and a half or less; or the largest."""
    return next((size for size in sizes if size >= words * _TOKENS_A_WORD + 2), sizes[-1])
