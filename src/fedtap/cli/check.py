"""``fedtap scenario check``: all data of a scenario, read as a run would read them, and all that is wrong told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from fedtap.cli.options import AsJson, Method, ScenarioFile, Settings, method_place
from fedtap.cli.screen import examples, say, say_json, screen, show_table
from fedtap.runtime.errors import UserError
from fedtap.runtime.text import neutral

EXAMPLES = examples(
    "fedtap scenario check my.yaml",
    "fedtap scenario check my.yaml --set data.on_unreadable=skip",
    "fedtap scenario check my.yaml --json",
)
_NAMED = 20  # skipped examples of a source that the table's words name; JSON has more


def check(
    path: ScenarioFile,
    settings: Settings = None,
    method: Method = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the run: it decides who gets which examples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Read all clients' data as a run would, before it trains for hours: every table, row and picture. No weights are needed.

    What is wrong is listed all together, a line each with the place and the mend, and the exit code is 2. Otherwise a table shows
    how many examples each task has to train, validate and test with, and in how many classes; below it stands where they fall
    short, and which examples were skipped (on_unreadable: skip) or are there twice, and pictures that use little of their range.

    Pictures that this machine has seen before are not decoded again. What `fedtap scenario validate` checks, which needs no data,
    is checked first. `fedtap run` does the same before its first round.
    """
    from fedtap.algorithms.registry import make
    from fedtap.backbones import check_files
    from fedtap.data.partition import partition
    from fedtap.data.reading import remembering
    from fedtap.data.sources.intake import DataError
    from fedtap.experiment.planning import architecture_of, shortfalls_at_hand
    from fedtap.reporting.progress.run import watcher
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(path, settings or [])
    told: list[dict[str, Any]] = []
    faults: list[str] = []
    number = 0
    with watcher(loaded.rounds, screen(errors=True)) as watch:
        try:
            shares = partition(loaded, seed, tell=remembering(told, watch))
        except DataError as error:
            faults, number = list(error.faults), error.number
    try:
        architecture_of(loaded, make(loaded.method, method, place=method_place(path, method)))
        check_files(loaded.backbone)
    except UserError as error:
        if str(error) not in faults:
            faults.append(str(error))
            number += 1
    if faults:
        if as_json:
            say_json({"faults": faults, "number": number})
        else:
            show_faults(faults, number)
        raise UserError(
            f"{path}: {number} fault{'' if number == 1 else 's'}; mend {'it' if number == 1 else 'them'}, then check again"
        )
    found: list[dict[str, Any]] = [
        {
            "client": client.id,
            "unseen": client.unseen,
            "task": task.name,
            "source": task.source,
            **{split: len(shares[client.id][task.name][split]) for split in ("train", "validation", "test")},
            "classes": _classes(shares[client.id][task.name].train, task),
        }
        for client in loaded.clients
        for task in client.tasks
    ]
    short, missing = shortfalls_at_hand(loaded, shares, seed)
    if as_json:
        say_json({"tasks": found, "short": short, "remarks": told, "not_looked_at": missing})
        return
    rows = [
        [
            each["client"] + (" (unseen)" if each["unseen"] else ""),
            *(str(each[key]) for key in ("task", "source", "train", "validation", "test")),
            "/".join(map(str, each["classes"])) if each["classes"] else "–",
        ]
        for each in found
    ]
    head = ("client", "task", "source", "train", "validation", "test", "classes")
    show_table(head, rows, title="Examples (classes: those in training of those there are)", numeric_from=3)
    show_data(short, told, missing)
    say(f"{path}: the data are sound")


def _classes(train: Any, task: Any) -> list[int] | None:
    from fedtap.data.sources import source

    if not task.classifies:
        return None
    return [len({label for example in train for label in example.labels}), len(source(task.source).classes(task))]


def show_faults(faults: Sequence[str], number: int) -> None:
    """Write all that is wrong with the data on standard error, a line each.

    Rows of a file in which the same is wrong share a line.
    """
    console = screen(errors=True)
    for line in in_one_line(faults):
        console.print(neutral(line), markup=False, soft_wrap=True)
    if number > len(faults):
        console.print(f"... and {number - len(faults)} more like these", markup=False)


def in_one_line(faults: Sequence[str]) -> list[str]:
    """Return faults of the form ``FILE:LINE: what`` that differ in the line alone as one, where the first stands.

    >>> in_one_line(["a.csv:2: empty", "a.csv:3: long", "a.csv:5: empty", "no file"])
    ['a.csv:2 and 1 more row: empty', 'a.csv:3: long', 'no file']
    """
    from fedtap.data.sources.intake import row_of

    rows: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        file, line, what = row_of(fault)
        rows.setdefault((file, what), []).append(line)
    told = []
    for (file, what), lines in rows.items():
        more = len(lines) - 1
        others = f" and {more} more row{'' if more == 1 else 's'}" if more else ""
        told.append(f"{file}:{lines[0]}{others}: {what}" if what else file)
    return told


def show_data(short: Mapping[str, Sequence[str]], remarks: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> None:
    """Write what is to be known of the data: where they fall short, remarks, examples that were skipped, what was not looked at.

    Clients that lack the same share a line.
    """
    from fedtap.reporting.html.formatting import listed
    from fedtap.reporting.remarks import about_data

    alike: dict[str, list[str]] = {}
    for client, lines in short.items():
        for line in lines:
            alike.setdefault(line, []).append(client)
    for line, clients in alike.items():
        say(f"{listed(clients)}: {line}")
    for event in remarks:
        for who, line in about_data(event):
            say(f"{who}: {line}")
        if event["event"] == "skipped":
            for line in event["why"][1:_NAMED]:
                say(f"  {line}")
            if event["examples"] > _NAMED:
                say(f"  ... and {event['examples'] - _NAMED} more")
    for line in missing:
        say(f"data: {line}")
