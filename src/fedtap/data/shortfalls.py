"""Where clients' data fall short, in plain lines. Not here: data that are wrong, which are refused.

Fewer examples than were asked for, classes without any, files that are not taken, answers that a model cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedtap.data.feature_extractor import Tokenizer
from fedtap.data.partition import Partition, TaskSplits
from fedtap.data.requests import asked_for
from fedtap.data.site_data import SiteData
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS, Split
from fedtap.runtime.text import one_line
from fedtap.scenario.scenario import Scenario, TaskSettings

NAMED = 5  # classes, where there may be many
EVENT = "data"


def shortfalls(
    scenario: Scenario,
    shares: Partition,
    seed: int,
    *,
    words: Tokenizer | None = None,
    site_data: SiteData | None = None,
) -> dict[str, list[str]]:
    """Return for each client whose data fall short in which respects, a line each, by task.

    Parameters
    ----------
    scenario, shares, seed
        Who asked for what, and holds what; clients and tasks that are not in ``shares`` are left out.
    words
        The vocabulary that answers are written with; None: answers are not looked at.
    site_data
        Where the data lie on a client's own machine; None: where the scenario says.
    """
    asked = asked_for(scenario, seed)
    alone: dict[tuple[Any, ...], tuple[str, ...]] = {}
    found: dict[str, list[str]] = {}
    for client in scenario.clients:
        for task in client.tasks:
            splits = shares.get(client.id, {}).get(task.name)
            if splits is None:
                continue
            here, folder = (task, scenario.folder) if site_data is None else (site_data.here(task), site_data.folder)
            place = (here.source, here.path, here.type, here.classes)
            if place not in alone:  # clients that share a folder have it looked through once
                alone[place] = source(here.source).left_alone(here, Path(folder))
            lines = [
                *_fewer(splits, asked[client.id, task.name]),
                *_beyond(splits, task),
                *_classless(splits, task, mixed=scenario.data.label_skew(task) is not None),
                *alone[place],
                *_unwritable(splits, task, words, scenario.network.answer_tokens),
            ]
            found.setdefault(client.id, []).extend(one_line(f"{task.name}: {line}") for line in lines)
    return {client: lines for client, lines in found.items() if lines}


def tell_shortfalls(found: Mapping[str, list[str]], observe: Callable[[dict[str, Any]], None]) -> None:
    """Make an event of what each client's data lack."""
    for client, lines in found.items():
        observe({"event": EVENT, "client": client, "lines": lines})


def _fewer(splits: TaskSplits, asked: Mapping[Split, int | None]) -> list[str]:
    return [
        f"{split}: {len(splits[split])} of {number} asked for"
        for split in SPLITS
        if (number := asked[split]) is not None and len(splits[split]) < number
    ]


def _classless(splits: TaskSplits, task: TaskSettings, *, mixed: bool) -> list[str]:
    """Return which classes have no example in which splits.

    A label mix that was drawn leaves classes out on purpose: of these only those are told that are trained on and not tested.
    """
    if not task.classifies:
        return []
    names = source(task.source).classes(task)
    there = {split: {label for example in splits[split] for label in example.labels} for split in SPLITS}
    lacking: dict[tuple[Split, ...], list[str]] = {}
    for label, name in enumerate(names):
        where = tuple(split for split in SPLITS if label not in there[split])
        if where and (label in there["train"] or not mixed):
            lacking.setdefault(where, []).append(name)
    lines = []
    for where, classes in lacking.items():
        shown = ", ".join(f"'{name}'" for name in classes[:NAMED])
        more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
        lines.append(f"{', '.join(where)}: no example of {len(classes)} of {len(names)} classes: {shown}{more}")
    return lines


def _beyond(splits: TaskSplits, task: TaskSettings) -> list[str]:
    """Return how many numbers lie beyond their scale; they count as they are, and many of them say that the scale is another."""
    if task.scale is None:
        return []
    low, high = task.scale
    numbers = [float(str(example.target)) for split in SPLITS for example in splits[split]]
    number = sum(not low <= each <= high for each in numbers)
    return [f"{number} of {len(numbers)} numbers lie beyond scale [{low:g}, {high:g}]"] if number else []


def _unwritable(splits: TaskSplits, task: TaskSettings, words: Tokenizer | None, limit: int) -> list[str]:
    """Return how many answers a model can not learn to write as they are; they are scored as they are all the same."""
    if words is None or task.type != "text_generation":
        return []
    lost = [words.lost(str(example.target), limit) for split in SPLITS for example in splits[split]]
    long, unknown = sum(cut for cut, _ in lost), sum(some for _, some in lost)
    lines = []
    if long:
        lines.append(f"{long} of {len(lost)} answers are longer than a model writes (network.answer_tokens={limit})")
    if unknown:
        lines.append(f"{unknown} of {len(lost)} answers hold words that the model's vocabulary does not know")
    return lines
