"""The report of a run: one HTML file that needs no network and no other file, and is whole without its little script.

A run of more clients than one page holds has the tables of its clients on pages beside it (pages.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fedtap.reporting.html.formatting import human_seconds, plural
from fedtap.reporting.html.markup import Markup, join
from fedtap.reporting.html.page import Live, Section, page, section
from fedtap.reporting.html.tables import table
from fedtap.reporting.html.templating import piece
from fedtap.reporting.remarks import KINDS, about_data
from fedtap.reporting.run.decisions import endings, timelines
from fedtap.reporting.run.examples import examples_section, shown_tasks
from fedtap.reporting.run.figures import loss_figures, seconds_figure, traffic_figure, validation_figures
from fedtap.reporting.run.gain_sections import gains_section, hurt_section, rests_on
from fedtap.reporting.run.headline import comparisons, deployed_model
from fedtap.reporting.run.headline import sentences as headline
from fedtap.reporting.run.pages import FOLDER, ClientPage, clear, client_pages, contents, without_clients
from fedtap.reporting.run.record import UNCHECKED, RunRecord, read_run
from fedtap.reporting.run.safety import bounded_section, privacy_section, robust_section, secure_section
from fedtap.reporting.run.series import loss_curves, round_seconds, traffic, validation_curves
from fedtap.reporting.run.sizes import sizes_table
from fedtap.reporting.run.standings import standings
from fedtap.reporting.run.summary import key_figures, sentences
from fedtap.reporting.run.tables import every_metric, family_table, standing_table
from fedtap.reporting.run.theory import theory_section
from fedtap.reporting.run.timeline import ENDINGS, endings_table, replacement_table
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import write_bytes
from fedtap.runtime.text import one_line

UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
MAX_CELLS = 200_000  # of a table
SPLITS = (
    (
        "test",
        "Results on each client's own test data",
        "Each client's models on test data of that client. ★ marks a model that is better than every other by more than chance, "
        "≈ those that cannot be told from the best, ▿ one that loses to the trivial baseline; without any of the first two "
        "nothing is known of chance. ↑ higher is better, ↓ lower is better.",
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
        raise UserError(unfit(run_folder, error)) from error
    target = run_folder / "report.html"
    for file, shown in texts.items():
        write_bytes(run_folder / FOLDER / file, shown.encode())
    clear(run_folder, frozenset(texts))
    write_bytes(target, text.encode())
    return target


def unfit(folder: Path, error: Exception) -> str:
    """Return what to say of a run's folder of whose files no page can be made; ``error`` is one of :data:`UNFIT`."""
    told = one_line(f"{type(error).__name__}: {error}", 120)
    return f"{folder}: its files do not fit together as those of a run do ({told}); restore them from a copy"


def render_page(shown: ClientPage, live: Live | None = None) -> str:
    """Return what there is to tell of some clients as one HTML page, with a link back; ``live`` as for :func:`render`."""
    record = shown.record
    scenario = _name(record)
    back = section("Run", piece("link", "Back to the report", "../report.html"))
    return page(
        kind="Federated run",
        title=f"{scenario} · {shown.title}",
        heading=scenario,
        about=shown.title,
        facts=_facts(record),
        figures=[(str(len(shown.clients)), "clients of this page")],
        notice=_notice(record) if live is None else live.notice,
        live=live is not None,
        summary=(shown.title, [f"What is told of {plural(len(shown.clients), 'client')}, of those of the whole run."]),
        sections=[back, *_single(record, beside="../"), _lost(record), _data(record), _every(record), _setup(record)],
        footer=("Written by fedtap with the report of this run.",),
    )


def render(record: RunRecord, pages: Sequence[ClientPage] = (), live: Live | None = None) -> str:
    """Return the report of a run as one HTML page; what is on ``pages`` is not in it.

    ``live`` is what a page has beside that is shown while the run goes on.
    """
    scenario = _name(record)
    run = record.run
    bounds = [bounded_section(record.events), robust_section(record.events)]
    safety = [*bounds, secure_section(record.events), privacy_section(record.privacy)]
    about_training = [_training(record), _validation(record), theory_section(record), _cost(record)]
    own = standings(record.rows or [], record.config)
    against = comparisons(run, own, record.outcomes)
    sections: list[Section | None]
    if pages:
        everybody = replace(record, events=[event for event in record.events if not event.get("client")])
        shown = section("Single clients", contents(list(pages)))
        sections = [
            hurt_section(against),
            *_results(record, single=False),
            shown,
            *about_training,
            _lost(everybody),
            *safety,
        ]
        sections.append(_setup(without_clients(record)))
    else:
        sections = [
            *_single(record),
            *about_training,
            _lost(record),
            _data(record),
            *safety,
            _every(record),
            _setup(record),
        ]
    return page(
        kind="Federated run",
        title=f"{scenario} · {run.get('method', '')}",
        heading=scenario,
        about=str(record.config.get("about") or ""),
        facts=_facts(record),
        headline=headline(against, deployed_model(run, own), own),
        figures=key_figures(record),
        notice=_notice(record) if live is None else live.notice,
        summary=("What happened", sentences(record)),
        sections=sections if live is None else [*live.sections, *sections],
        live=live is not None,
        footer=(
            "Written by fedtap from run.json, events.jsonl, results.json, cost.json and outcomes/ of this folder; ",
            piece("code", "fedtap report"),
            " writes it again.",
        ),
    )


def _single(record: RunRecord, beside: str = "") -> list[Section | None]:
    """Return what is told of single clients; ``beside`` leads from the page to the run's folder."""
    own = standings(record.rows or [], record.config)
    found = comparisons(record.run, own, record.outcomes)
    return [
        gains_section(found, _key_of(record), shown_tasks(record)),
        hurt_section(found),
        examples_section(record, deployed_model(record.run, own)),
        *_results(record, beside=beside),
        *_decisions(record),
    ]


def _key_of(record: RunRecord) -> Callable[[str, str], str]:
    """Return what links call the result of each client's task."""
    places = {pair: number for number, pair in enumerate(record.pairs(), start=1)}
    return lambda client, task: f"result-{places.get((client, task), 0)}"


def _card_of(record: RunRecord, beside: str) -> Callable[[str, str], str]:
    """Return where the model card of each client is, of those whose models are kept."""
    model = deployed_model(record.run, standings(record.rows or [], record.config))
    home = (record.folder / "clients").resolve()
    found: dict[str, str] = {}
    for client in record.clients if record.beside else ():
        path = record.folder / "clients" / str(client["id"]) / model / "README.md"
        try:
            there = path.is_file() and path.resolve().is_relative_to(home)
        except OSError:  # a name that no file can have
            there = False
        if there:
            found[str(client["id"])] = f"{beside}clients/{quote(str(client['id']))}/{quote(model)}/README.md"
    return lambda client, task: found.get(client, "")


def _name(record: RunRecord) -> str:
    return str(record.config.get("name") or record.run.get("scenario") or "run")


def _facts(record: RunRecord) -> str:
    run = record.run
    device = (run.get("environment") or {}).get("resolved_device")
    told = f"method {run.get('method', '?')} · seed {run.get('seed', '?')} · fedtap {run.get('fedtap', '?')}"
    return told if device is None else f"{told} · on {device}"


def _notice(record: RunRecord) -> Markup:
    doubt = Markup() if record.checked else piece("notice", f"{UNCHECKED}.")
    if record.rows is not None:
        return doubt
    more = join([piece("code", "fedtap run … --resume"), " continues it."])
    return join([doubt, piece("notice", "This run is not finished, so there are no results yet; ", more)])


def _results(record: RunRecord, *, single: bool = True, beside: str = "") -> list[Section | None]:
    """Return the results by family, and unless they are elsewhere those of single clients."""
    if record.rows is None:
        return []
    told: list[Section | None] = []
    for split, title, explanation in SPLITS:
        found = standings(record.rows, record.config, split)
        if found:
            families = family_table(found) if len(found) > 1 else Markup()
            own = split == SPLITS[0][0]
            outcomes = {} if split == "cross" else record.outcomes  # kept are those of a client's own test data
            key = _key_of(record) if own else None
            card = None if split == "cross" else _card_of(record, beside)
            each = standing_table(found, title, outcomes, key=key, card=card) if single else Markup()
            against = comparisons(record.run, found, outcomes) if own else []
            basis = f" More than chance: at 5 %, by {rests_on(against)}." if against else ""
            told.append(section(title, piece("note", explanation + basis), families, each))
    return told


def _every(record: RunRecord) -> Section | None:
    return section("Every metric", every_metric(record.rows)) if record.rows else None


def _decisions(record: RunRecord) -> list[Section | None]:
    order = list(record.pairs())
    lines = timelines(record.events, order)
    parts: list[Section | None] = []
    if any(line.weighed for line in lines):  # first participations alone are no decisions worth a table
        rounds = sorted({number for line in lines for number in line.rounds})
        note = (
            "● the federated model took the personal one's place on that task's path, ○ the personal model was kept, ◆ the "
            "client's first participation, which always adopts the federated model; empty: the client took no part. A mark "
            "opens, and tells the losses and the rule."
        )
        last = max(rounds[-1], int(record.config.get("rounds") or 0))
        span: Sequence[int] = range(rounds[0], last + 1)
        if len(span) * len(lines) > MAX_CELLS:  # more than a browser shows: rounds without a decision are left out
            note += " Rounds in which nothing was decided are left out."
            span = rounds[: max(1, MAX_CELLS // len(lines))]
        parts.append(section("When the federated model took over", piece("note", note), replacement_table(lines, span)))
    place = {key: number for number, key in enumerate(order)}
    for end, shown in ENDINGS.items():
        made = endings(record.events, end)
        if made:
            ranked = sorted(made, key=lambda event: place.get((event["client"], event["task"]), len(place)))
            rows = endings_table(ranked, shown.caption, of=shown.of, losses=shown.losses)
            parts.append(section(shown.title, piece("note", shown.note), rows))
    return parts


def _training(record: RunRecord) -> Section | None:
    curves = loss_curves(record.events, record.pairs())
    if not curves:
        return None
    note = "Mean over the clients that took part; they differ from round to round, so the lines are not smooth."
    return section(
        "Training losses",
        piece("note", note),
        piece("beside", [piece("figure", each) for each in loss_figures(curves)]),
    )


def _validation(record: RunRecord) -> Section | None:
    curves = validation_curves(record.events, record.pairs())
    if not curves:
        return None
    note = (
        "Each client that took part in a round, on its own validation data, as soon as it had trained: before anything was "
        "averaged. Mean over these clients, who differ from round to round. The same data decide which models are kept, so "
        "that the results on test data are the ones to be believed."
    )
    return section(
        "Validation by round",
        piece("note", note),
        piece("beside", [piece("figure", each) for each in validation_figures(curves)]),
    )


def _cost(record: RunRecord) -> Section | None:
    figures: list[Markup] = []
    moved = traffic(record.events)
    if any(t.down or t.up for t in moved.values()):
        figures.append(piece("figure", traffic_figure(moved), "Traffic"))
    seconds = round_seconds(record.events)
    if seconds:
        figures.append(piece("figure", seconds_figure(seconds), "Time"))
    phases = _phases((record.cost or {}).get("by_phase") or {})
    return section("Cost", piece("beside", figures), phases) if figures or phases else None


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


def _lost(record: RunRecord) -> Section | None:
    lost = [event for event in record.events if event["event"] in ("rejected", "failed", "refused", "unchanged")]
    if not lost:
        return None
    rows = []
    for event in lost:
        who = str(event.get("client") or event.get("node") or "")
        few = f"{event.get('replies')} sound replies, and {event.get('min_replies')} were needed"
        why = few if event["event"] == "unchanged" else str(event.get("why", ""))
        rows.append((str(event.get("round", "")), event["event"], who, why))
    inner = table(("round", "what", "client or node", "why"), rows, "What was not averaged, and who was not let in")
    return section("Rejected and failed", inner)


def _data(record: RunRecord) -> Section | None:
    rows = [row for event in record.events if event["event"] in KINDS for row in about_data(event)]
    sizes = sizes_table(record)
    if not rows:
        return section("Data", sizes)
    note = (
        "Fewer examples than were asked for, classes without any, files that were not taken, examples that were skipped or are "
        "there more than once, answers that no model can write; and what decides about splits, or shows too little of pictures."
    )
    inner = table(("client", "what"), rows, "Where the data fall short")
    return section("Data", sizes, piece("note", note), inner)


def _setup(record: RunRecord) -> Section | None:
    environment = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in (record.run.get("environment") or {}).items()
    }
    versions = table(("what", "value"), list(environment.items()), "Environment") if environment else Markup()
    config = piece("pre", json.dumps(record.config, indent=1, ensure_ascii=False))
    count = len(record.clients)
    whose = plural(count, "client") if count else "its clients are on their pages"
    return section("How it was set up", versions, piece("collapsed", f"The resolved scenario ({whose})", config))
