"""What a page shows of a run that goes on, before all that a report has: how it stands, how far it is, and its clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from statistics import fmean
from typing import Any

from fedtap.reporting.html.formatting import human_seconds, listed, number, plural
from fedtap.reporting.html.markup import Markup
from fedtap.reporting.html.page import Live, Section, section
from fedtap.reporting.html.tables import Cell, collapsed, table
from fedtap.reporting.html.templating import render
from fedtap.reporting.live.condition import Condition
from fedtap.reporting.live.progress import ClientProgress, Progress, progress_of
from fedtap.reporting.run.pages import MOST
from fedtap.reporting.run.record import RunRecord

STAGES = {
    "reading": "looking at pictures",
    "encoding": "encoding examples",
    "personalising": "personalising clients",
    "evaluating": "testing clients",
}
"""Events on progress that are not written down, and what a page calls them."""
_KINDS = {Condition.ENDED: "ended", Condition.BROKEN_OFF: "stopped", Condition.KILLED: "stopped"}


def status(condition: Condition, *, more: Sequence[str] = (), at: float | None = None) -> Markup:
    """Return the line that says how a run stands; ``at`` is the time of its last event, in seconds since the epoch."""
    return render(
        "live_status.html",
        kind=_KINDS.get(condition, "going"),
        text=condition.value,
        more=[line for line in more if line],
        resume=condition in (Condition.BROKEN_OFF, Condition.KILLED),
        at=at,
        clock=_clock(at),
    )


def stage_bar(stage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the bar of an event on progress, or None if it is no such event."""
    name = STAGES.get(str(stage.get("event")))
    done, total = stage.get("done"), stage.get("total")
    if name is None or not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return None
    about = stage.get("tower", stage.get("source"))
    return {"name": name if about is None else f"{name} ({about})", "done": min(done, total), "total": total}


def beginning(stage: Mapping[str, Any] | None) -> Section | None:
    """Return what is shown while there is no run.json yet."""
    bar = None if stage is None else stage_bar(stage)
    return None if bar is None else section("Progress", render("live.html", bars=[bar], lines=[], title="", chips=[]))


def going_on(
    record: RunRecord, condition: Condition, stage: Mapping[str, Any] | None, more: Sequence[str] = ()
) -> Live:
    """Return what a page shows of a run that has no results yet, beside its report; ``more`` is to be said with how it stands."""
    found = progress_of(record.events, int(record.config.get("rounds") or 0))
    at = next((float(event["time"]) for event in reversed(record.events) if event.get("time") is not None), None)
    return Live(
        status(condition, more=more, at=at), [_progress(record, condition, stage, found), _clients(record, found)]
    )


def _progress(
    record: RunRecord, condition: Condition, stage: Mapping[str, Any] | None, found: Progress
) -> Section | None:
    everybody = len(record.clients)
    bars: list[Mapping[str, Any]] = [{"name": "rounds", "done": found.done, "total": max(1, found.rounds)}]
    told = None if stage is None else stage_bar(stage)
    if told is not None:
        bars.append(told)
    elif found.done == found.rounds and found.personalised:
        bars.append({"name": STAGES["personalising"], "done": min(found.personalised, everybody), "total": everybody})
    lines = []
    if found.seconds is not None:
        lines.append(f"A round takes {human_seconds(found.seconds)}.")
        if condition.at_work and found.seconds_left:
            lines[0] += (
                f" About {human_seconds(found.seconds_left)} of rounds are left; then models are made and tested."
            )
    title = ""
    if found.now is not None:
        title = f"Round {found.now}"
        waiting = sum(state == "waiting" for state in found.at_work.values())
        left = f"{plural(waiting, 'client')} still to answer" if waiting else "all have answered"
        lines.append(f"{title} of {found.rounds}: {left if found.at_work else 'clients are chosen'}.")
    shown = render("live.html", bars=bars, lines=lines, title=title, chips=list(found.at_work.items())[:MOST])
    return section("Progress", shown)


def _clients(record: RunRecord, found: Progress) -> Section | None:
    """Return a row for each client with its newest losses; with very many clients they are on their pages alone."""
    ids = [str(client["id"]) for client in record.clients if not client.get("unseen")]
    if not ids or len(ids) > MOST or not found.clients:
        return None
    models = sorted({model for client in found.clients.values() for model, _ in client.losses})
    head = ("client", "rounds", "last", *(f"{model} loss" for model in models), "replaced", "lost")
    rows = [_row(id, found.clients.get(id, ClientProgress()), models) for id in ids]
    shown = table(head, rows, "What each client has come to", numeric=range(1, len(head)))
    return section("Clients", collapsed(f"All {plural(len(rows), 'client')}", shown, len(rows)))


def _row(id: str, mine: ClientProgress, models: Sequence[str]) -> list[str | Cell]:
    cells: list[str | Cell] = [id, str(len(mine.rounds)), str(mine.rounds[-1]) if mine.rounds else "–"]
    for model in models:
        values = {task: loss for (of, task), loss in mine.losses.items() if of == model}
        told = listed([f"{task} {number(loss)}" for task, loss in values.items()], most=8)
        cells.append(Cell(number(fmean(values.values()) if values else None), title=told))
    weighed = f"{mine.replaced} / {mine.weighed}" if mine.weighed else "–"
    return [*cells, weighed, str(mine.lost) if mine.lost else "–"]


def _clock(at: float | None) -> str:
    """Return a time of day of this machine; a date too where it is long ago, or nothing that a calendar has."""
    if at is None:
        return ""
    try:
        then = datetime.fromtimestamp(at, tz=timezone.utc).astimezone()
    except (OverflowError, OSError, ValueError):
        return "an unknown time"
    return then.strftime("%H:%M:%S" if then.date() == datetime.now(tz=then.tzinfo).date() else "%Y-%m-%d %H:%M")
