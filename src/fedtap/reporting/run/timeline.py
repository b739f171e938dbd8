"""The decisions of a run as HTML: a row for each client and task, a column for each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtap.reporting.html.formatting import number, plural
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.tables import Cell, collapsed, table
from fedtap.reporting.html.templating import render
from fedtap.reporting.run.decisions import Timeline, changed, is_first


@dataclass(frozen=True, slots=True)
class Ending:
    """How a section on what became of the personal models is worded; ``losses`` are a decision's personal and federated one."""

    title: str
    note: str
    caption: str
    of: str
    losses: tuple[str, str]


ENDINGS = {
    "distil": Ending(
        "Distillation",
        "Validation losses of the personal model before and after distillation. What would leave a task of the client worse is "
        "undone.",
        "Outcome of distillation, with validation losses",
        "distilled model",
        ("loss before", "loss after"),
    ),
    "mix": Ending(
        "What came back of the personal model",
        "The slice is fine-tuned; then each task's path of it moves towards the personal model that the rounds left, as far as "
        "validation says. Losses are those of the two, before any move.",
        "Outcome of mixing, with validation losses",
        "personal model",
        ("loss personal", "loss fine-tuned"),
    ),
    "refit": Ending(
        "Heads refitted",
        "Heads that have a closed form are set to the optimum of the client's training loss, near what they were; that is undone "
        "where validation is not better for it.",
        "Outcome of refitting, with validation losses",
        "refitted head",
        ("loss before", "loss after"),
    ),
    "choice": Ending(
        "Which model each task uses",
        "A site keeps several finished models, and each task uses the one that is best on the client's validation data. Losses "
        "are those of the personal model and of the best of the others.",
        "Choice among the finished models, with validation losses",
        "personal model",
        ("loss personal", "loss of the others"),
    ),
}


def replacement_table(timelines: Sequence[Timeline], rounds: Sequence[int]) -> Markup:
    """Return the grid of replacement decisions; an empty cell is a round in which the client took no part."""
    lines = [
        {
            "client": line.client,
            "task": line.task,
            "cells": [_cell(line, number) for number in rounds],
            "replaced": f"{line.replaced} / {len(line.weighed)}",
        }
        for line in timelines
    ]
    grid = render("timeline.html", caption="Replacement decisions by round", rounds=rounds, lines=lines)
    return collapsed(f"Timelines of all {plural(len(lines), 'client task')}", grid, len(lines))


def endings_table(events: Sequence[Mapping[str, Any]], caption: str, *, of: str, losses: tuple[str, str]) -> Markup:
    """Return what became of the personal model for every client and task.

    Parameters
    ----------
    events
        Decisions after the last round.
    caption
        What the table shows.
    of
        What was kept or undone.
    losses
        What a decision's personal and its federated loss are called.
    """
    rows = [
        (
            str(event["client"]),
            str(event["task"]),
            Cell("kept" if changed(event) else "undone", marks=((_sign(event), _word(event)),)),
            number(event.get("personal_loss")),
            number(event.get("federated_loss")),
            str(event.get("rule") or ""),
        )
        for event in events
    ]
    inner = table(("client", "task", of, *losses, "rule"), rows, caption, numeric=(3, 4))
    return collapsed(f"All {plural(len(rows), 'outcome')}", inner, len(rows))


def _cell(line: Timeline, round_number: int) -> Mapping[str, str] | None:
    event = line.rounds.get(round_number)
    if event is None:
        return None
    told = (
        f"round {round_number}: {_word(event)}; loss federated {number(event.get('federated_loss'))}, "
        f"personal {number(event.get('personal_loss'))}; {event.get('rule') or ''}"
    )
    return {"kind": "yes" if changed(event) else "no", "told": told, "sign": _sign(event), "word": _word(event)}


def _sign(event: Mapping[str, Any]) -> str:
    return "○" if not changed(event) else "◆" if event["kind"] == "replace" and is_first(event) else "●"


def _word(event: Mapping[str, Any]) -> str:
    if event["kind"] == "distil":
        return "kept" if changed(event) else "undone"
    return "kept" if not changed(event) else "first participation" if is_first(event) else str(event["outcome"])
