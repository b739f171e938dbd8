"""``fedtap fetch``: what a scenario needs of the model hub, said first, then brought, checked and recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtap.cli.options import ScenarioFile, Settings
from fedtap.cli.screen import examples, say, screen, show_table
from fedtap.runtime.errors import UserError

if TYPE_CHECKING:
    from fedtap.fetching.plan import Item
    from fedtap.scenario.scenario import Scenario

EXAMPLES = examples(
    "fedtap fetch paper-flava",
    "fedtap fetch paper-flava --yes",
    "fedtap fetch paper-vilt --dry-run",
    "fedtap fetch paper-flava --revision facebook/flava-full=refs/pr/1",
)


def fetch(
    scenario: ScenarioFile,
    settings: Settings = None,
    revisions: Annotated[
        list[str] | None,
        typer.Option(
            "--revision",
            metavar="NAME=REVISION",
            help="Take this commit, tag or branch of a repository; by default what was fetched before, or else the newest.",
        ),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Take the newest of what was fetched before, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come.")] = False,
) -> None:
    """Bring all that a scenario needs of the model hub: weights, tokenizers, data sets. Afterwards its runs need no connection.

    It says first what will come, from which commit, how much, under which licence, and asks. Every file is held against the hub's
    digest. Interrupted, the same command goes on: files that have come whole are kept. Runs take exactly the commits that were
    fetched, and run.json names them. It lies in HF_HOME (by default ~/.cache/huggingface), which may be taken to another machine.
    """
    from fedtap.scenario.scenario import load_scenario

    loaded = load_scenario(scenario, settings or [])
    if bring(loaded, revisions_of(revisions or []), update=update, ask=not yes, only_say=dry_run):
        say(f"All of it is here and whole. Next, with or without a connection: fedtap run {scenario}")


def bring(
    scenario: Scenario,
    revisions: Mapping[str, str] | None = None,
    *,
    update: bool = False,
    ask: bool = False,
    only_say: bool = False,
) -> bool:
    """Say what a scenario needs of the hub, ask if that is wanted, bring it, and tell whether it was brought.

    Raises
    ------
    UserError
        If it cannot be had, or nobody can be asked.
    """
    from fedtap.fetching.fetch import check_room
    from fedtap.fetching.fetch import fetch as bring_all
    from fedtap.fetching.plan import plan_of

    items = plan_of(scenario, revisions=revisions, update=update)
    if not items:
        say(f"{scenario.name}: needs nothing of the hub")
        return False
    _show(items)
    if only_say:
        return False
    check_room(items)
    if ask and any(item.to_come for item in items):
        if not sys.stdin.isatty():
            raise UserError("nothing was fetched: there is nobody to ask; give --yes to fetch it")
        if not typer.confirm("Fetch it?", default=True):
            say("Nothing was fetched")
            return False
    with _progress(items) as watch:
        bring_all(scenario, items, watch)
    return True


def revisions_of(given: Sequence[str]) -> dict[str, str]:
    """Return the revision of each repository of ``--revision``; raises :class:`UserError` unless each is NAME=REVISION."""
    found: dict[str, str] = {}
    for each in given:
        name, _, revision = each.partition("=")
        if not name or not revision:
            raise UserError(f"--revision {each}: give NAME=REVISION, for example facebook/flava-full=refs/pr/1")
        found[name] = revision
    return found


def _show(items: Sequence[Item]) -> None:
    from fedtap.fetching.fetch import free_bytes
    from fedtap.hub.repository import cache, endpoint
    from fedtap.reporting.html.formatting import human_bytes, plural

    kinds = {"model": "model", "dataset": "data"}
    rows = [
        (
            item.repository.name,
            kinds[item.need.kind],
            item.need.purpose,
            item.repository.revision[:12],
            item.licence,
            "yes, agreed" if item.repository.gated else "no",
            str(len(item.paths)),
            human_bytes(item.size),
            human_bytes(item.to_come) if item.to_come else "here",
        )
        for item in items
    ]
    head = ("repository", "kind", "for", "commit", "licence", "gated", "files", "size", "to come")
    show_table(head, rows, title=f"From {endpoint()}", numeric_from=6)
    to_come = sum(item.to_come for item in items)
    data = sum(item.size for item in items if item.need.kind == "dataset")
    copies = (
        f"; beside it about {human_bytes(data)} for the copies of data sets that `datasets` makes"
        if data and to_come
        else ""
    )
    say(
        f"{plural(len(items), 'repository', 'repositories')}, {human_bytes(sum(item.size for item in items))}, of which "
        f"{human_bytes(to_come)} are to come, into {cache()} ({human_bytes(free_bytes())} free){copies}"
    )


@contextmanager
def _progress(items: Sequence[Item]) -> Iterator[Any]:
    """Give what hears of the transfer: bars on a terminal, a line for each repository elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = screen(errors=True)
    if not console.is_terminal:

        def tell(event: dict[str, Any]) -> None:
            if event["event"] == "fetched":
                console.print(
                    f"{event['name']}: here and whole, at {event['revision'][:12]}", markup=False, soft_wrap=True
                )

        yield tell
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {item.repository.name: bars.add_task(item.repository.name, total=item.size) for item in items}

        def move(event: dict[str, Any]) -> None:
            if event["event"] == "fetching":
                bars.update(tasks[event["name"]], completed=event["done"], total=event["total"])

        yield move
