"""The report of a run: one HTML file that needs no network, no script and no other file.

A run of more clients than one page holds has the tables of its clients on pages beside it (pages.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedtap.reporting.html.formatting import human_seconds, plural
from fedtap.reporting.html.markup import Markup, el, join
from fedtap.reporting.html.page import page, section
from fedtap.reporting.html.tables import table
from fedtap.reporting.remarks import KINDS, about_data
from fedtap.reporting.run.decisions import endings, timelines
from fedtap.reporting.run.pages import FOLDER, ClientPage, clear, client_pages, contents, without_clients
from fedtap.reporting.run.record import UNCHECKED, RunRecord, read_run
from fedtap.reporting.run.safety import bounded_section, privacy_section, robust_section, secure_section
from fedtap.reporting.run.series import loss_curves, round_seconds, traffic
from fedtap.reporting.run.standings import standings
from fedtap.reporting.run.summary import key_figures, sentences
from fedtap.reporting.run.tables import every_metric, family_table, standing_table
from fedtap.reporting.run.theory import theory_section
from fedtap.reporting.run.timeline import endings_table, replacement_table
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import write_bytes
from fedtap.runtime.text import one_line

UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
MAX_CELLS = 200_000  # of a table
SPLITS = (
    (
        "test",
        "Results on each client's own test data",
        "Each client's models on test data of that client. ★ marks the best model, ▿ one that loses to the trivial baseline. "
        "↑ higher is better, ↓ lower is better.",
    ),
    (
        "unseen",
        "Clients that never took part",
        "The models that clients get from the finished server although they were held out of training.",
    ),
    (
        "cross",
        "Cross-client test",
        "Each client's models on test data of other clients with the same tasks: what they know beyond the client's own data.",
    ),
)


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


def write_report(run_folder: Path, tell: Callable[[str], None] = lambda line: None) -> Path:
    """Write ``report.html`` into a run's folder and return its path; an unfinished run gets a report that says so.

    ``tell`` hears a line where the report shows what could not be checked.
    With more than 250 clients their tables are in ``report-pages/``, a hundred clients a file.

    Raises
    ------
    UserError
        If the folder holds no run, or a file of it is damaged, or not what a run writes.
    """
    record = read_run(run_folder)
    if not record.checked:
        tell(f"{run_folder}: {UNCHECKED}")
    try:
        pages = list(client_pages(record))
        texts = {each.file: render_page(each) for each in pages}
        text = render(record, pages)
    except UNFIT as error:  # what is typed and bounded one by one may still not fit together
        raise UserError(
            f"{run_folder}: its files do not fit together as those of a run do ({_told(error)}); restore them from a copy"
        ) from error
    target = run_folder / "report.html"
    for file, shown in texts.items():
        write_bytes(run_folder / FOLDER / file, shown.encode())
    clear(run_folder, frozenset(texts))
    write_bytes(target, text.encode())
    return target


def _told(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 120)


def render_page(shown: ClientPage) -> str:
    """Return what there is to tell of some clients as one HTML page, with a link back."""
    record = shown.record
    scenario = _name(record)
    back = el("p", el("a", "Back to the report", href="../report.html"))
    sections = [section("Run", back), _results(record), _decisions(record), _lost(record), _data(record)]
    sections.append(_setup(record))
    return page(
        kind="Federated run",
        title=f"{scenario} · {shown.title}",
        heading=scenario,
        about=shown.title,
        facts=_facts(record),
        figures=[(str(len(shown.clients)), "clients of this page")],
        notice=_notice(record),
        summary=(shown.title, [f"What is told of {plural(len(shown.clients), 'client')}, of those of the whole run."]),
        sections=sections,
        footer=("Written by fedtap with the report of this run.",),
    )


def render(record: RunRecord, pages: Sequence[ClientPage] = ()) -> str:
    """Return the report of a run as one HTML page; what is on ``pages`` is not in it."""
    scenario = _name(record)
    run = record.run
    bounds = [bounded_section(record.events), robust_section(record.events)]
    safety = [*bounds, secure_section(record.events), privacy_section(record.privacy)]
    about_training = [_training(record), theory_section(record), _cost(record)]
    if pages:
        everybody = replace(record, events=[event for event in record.events if not event.get("client")])
        shown = section("Single clients", contents(list(pages)))
        sections = [_results(record, single=False), shown, *about_training, _lost(everybody), *safety]
        sections.append(_setup(without_clients(record)))
    else:
        sections = [_results(record), _decisions(record), *about_training, _lost(record)]
        sections += [_data(record), *safety, _setup(record)]
    return page(
        kind="Federated run",
        title=f"{scenario} · {run.get('method', '')}",
        heading=scenario,
        about=str(record.config.get("about") or ""),
        facts=_facts(record),
        figures=key_figures(record),
        notice=_notice(record),
        summary=("What happened", sentences(record)),
        sections=sections,
        footer=(
            "Written by fedtap from run.json, events.jsonl, results.json and cost.json of this folder; ",
            el("code", "fedtap report"),
            " writes it again.",
        ),
    )


def _name(record: RunRecord) -> str:
    return str(record.config.get("name") or record.run.get("scenario") or "run")


def _facts(record: RunRecord) -> str:
    run = record.run
    return f"method {run.get('method', '?')} · seed {run.get('seed', '?')} · fedtap {run.get('fedtap', '?')}"


def _notice(record: RunRecord) -> Markup:
    doubt = Markup() if record.checked else el("p", f"{UNCHECKED}.", class_="notice", role="status")
    if record.rows is not None:
        return doubt
    command = el("code", "fedtap run … --resume")
    parts = ("This run is not finished, so there are no results yet; ", command, " continues it.")
    return join([doubt, el("p", *parts, class_="notice", role="status")])


def _results(record: RunRecord, *, single: bool = True) -> Markup:
    """Return the results by family, and unless they are elsewhere those of single clients."""
    if record.rows is None:
        return Markup()
    parts: list[Markup] = []
    for split, title, explanation in SPLITS:
        found = standings(record.rows, record.config, split)
        if found:
            families = family_table(found) if len(found) > 1 else Markup()
            each = standing_table(found, title) if single else Markup()
            parts.append(section(title, el("p", explanation, class_="note"), families, each))
    parts.append(every_metric(record.rows) if record.rows and single else Markup())
    return join(parts)


def _decisions(record: RunRecord) -> Markup:
    order = list(record.pairs())
    lines = timelines(record.events, order)
    parts: list[Markup] = []
    if any(line.weighed for line in lines):  # first participations alone are no decisions worth a table
        rounds = sorted({number for line in lines for number in line.rounds})
        note = (
            "● the federated model took the personal one's place on that task's path, ○ the personal model was kept, ◆ the "
            "client's first participation, which always adopts the federated model; empty: the client took no part. Point at "
            "a mark for the losses and the rule."
        )
        last = max(rounds[-1], int(record.config.get("rounds") or 0))
        span: Sequence[int] = range(rounds[0], last + 1)
        if len(span) * len(lines) > MAX_CELLS:  # more than a browser shows: rounds without a decision are left out
            note += " Rounds in which nothing was decided are left out."
            span = rounds[: max(1, MAX_CELLS // len(lines))]
        parts.append(
            section("When the federated model took over", el("p", note, class_="note"), replacement_table(lines, span))
        )
    place = {key: number for number, key in enumerate(order)}
    for end, shown in ENDINGS.items():
        made = endings(record.events, end)
        if made:
            ranked = sorted(made, key=lambda event: place.get((event["client"], event["task"]), len(place)))
            rows = endings_table(ranked, shown.caption, of=shown.of, losses=shown.losses)
            parts.append(section(shown.title, el("p", shown.note, class_="note"), rows))
    return join(parts)


def _training(record: RunRecord) -> Markup:
    from fedtap.reporting.run.figures import (
        loss_figure,  # matplotlib takes a second that runs without updates need not spend
    )

    curves = loss_curves(record.events, record.pairs())
    if not curves:
        return Markup()
    note = "Mean over the clients that took part; they differ from round to round, so the lines are not smooth."
    return section("Training losses", el("p", note, class_="note"), el("figure", loss_figure(curves)))


def _cost(record: RunRecord) -> Markup:
    from fedtap.reporting.run.figures import seconds_figure, traffic_figure

    figures: list[Markup] = []
    moved = traffic(record.events)
    if any(t.down or t.up for t in moved.values()):
        figures.append(el("figure", el("figcaption", "Traffic"), traffic_figure(moved)))
    seconds = round_seconds(record.events)
    if seconds:
        figures.append(el("figure", el("figcaption", "Time"), seconds_figure(seconds)))
    phases = _phases((record.cost or {}).get("by_phase") or {})
    if not figures and not phases:
        return Markup()
    return section("Cost", el("div", *figures, class_="pair"), phases)


def _phases(by_phase: dict[str, Any]) -> Markup:
    seconds = {
        name: float(value.get("seconds", 0) if isinstance(value, dict) else value) for name, value in by_phase.items()
    }
    total = sum(seconds.values())
    if not total:
        return Markup()
    rows = [
        (name.replace("_", " "), human_seconds(spent), f"{spent / total:.0%}")
        for name, spent in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    return table(("phase", "time", "share"), rows, "Wall-clock time by phase", numeric=(1, 2))


def _lost(record: RunRecord) -> Markup:
    lost = [event for event in record.events if event["event"] in ("rejected", "failed", "refused", "unchanged")]
    if not lost:
        return Markup()
    rows = []
    for event in lost:
        who = str(event.get("client") or event.get("node") or "")
        few = f"{event.get('replies')} sound replies, and {event.get('min_replies')} were needed"
        why = few if event["event"] == "unchanged" else str(event.get("why", ""))
        rows.append((str(event.get("round", "")), event["event"], who, why))
    inner = table(("round", "what", "client or node", "why"), rows, "What was not averaged, and who was not let in")
    return section("Rejected and failed", inner)


def _data(record: RunRecord) -> Markup:
    rows = [row for event in record.events if event["event"] in KINDS for row in about_data(event)]
    if not rows:
        return Markup()
    note = (
        "Fewer examples than were asked for, classes without any, files that were not taken, examples that were skipped or are "
        "there more than once, answers that no model can write; and what decides about splits, or shows too little of pictures."
    )
    inner = table(("client", "what"), rows, "Where clients' data fall short")
    return section("Where the data fall short", el("p", note, class_="note"), inner)


def _setup(record: RunRecord) -> Markup:
    environment = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in (record.run.get("environment") or {}).items()
    }
    versions = table(("what", "value"), list(environment.items()), "Environment") if environment else Markup()
    config = el("pre", json.dumps(record.config, indent=1, ensure_ascii=False), tabindex=0)
    count = len(record.clients)
    whose = plural(count, "client") if count else "its clients are on their pages"
    return section(
        "How it was set up", versions, el("details", el("summary", f"The resolved scenario ({whose})"), config)
    )
