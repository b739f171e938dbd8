"""The decisions of a run as HTML: a row for each client and task, a column for each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedtap.reporting.html.formatting import number, plural
from fedtap.reporting.html.markup import Markup, el
from fedtap.reporting.html.tables import collapsed, table
from fedtap.reporting.run.decisions import Timeline, changed, is_first


def replacement_table(timelines: Sequence[Timeline], rounds: Sequence[int]) -> Markup:
    """Return the grid of replacement decisions; an empty cell is a round in which the client took no part."""
    names = ("client", "task", *(str(round_number) for round_number in rounds))
    heads = [*(el("th", name, scope="col") for name in names), el("th", "replaced", scope="col", class_="num")]
    body = [
        el(
            "tr",
            el("th", line.client, scope="row"),
            el("td", line.task),
            *(_cell(line, round_number) for round_number in rounds),
            el("td", f"{line.replaced} / {len(line.weighed)}", class_="num"),
        )
        for line in timelines
    ]
    caption = "Replacement decisions by round"
    inner = el("table", el("caption", caption), el("thead", el("tr", *heads)), el("tbody", *body), class_="timeline")
    grid = el("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return collapsed(f"Timelines of all {plural(len(body), 'client task')}", grid, len(body))


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
            el("td", _mark(event), " ", "kept" if changed(event) else "undone"),
            number(event.get("personal_loss")),
            number(event.get("federated_loss")),
            el("td", str(event.get("rule") or "")),
        )
        for event in events
    ]
    inner = table(("client", "task", of, *losses, "rule"), rows, caption, numeric=(3, 4))
    return collapsed(f"All {plural(len(rows), 'outcome')}", inner, len(rows))


def _cell(line: Timeline, round_number: int) -> Markup:
    event = line.rounds.get(round_number)
    if event is None:
        return Markup("<td></td>")
    title = (
        f"round {round_number}: {_word(event)}; loss federated {number(event.get('federated_loss'))}, "
        f"personal {number(event.get('personal_loss'))}; {event.get('rule') or ''}"
    )
    return el("td", _mark(event), class_="yes" if changed(event) else "no", title=title)


def _mark(event: Mapping[str, Any]) -> Markup:
    sign = "○" if not changed(event) else "◆" if event["kind"] == "replace" and is_first(event) else "●"
    return el("span", sign, role="img", aria_label=_word(event), class_="mark")


def _word(event: Mapping[str, Any]) -> str:
    if event["kind"] == "distil":
        return "kept" if changed(event) else "undone"
    return "kept" if not changed(event) else "first participation" if is_first(event) else str(event["outcome"])
