"""``fedtap new``: a scenario from one's own data, with what was guessed, and all data checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from fedtap.cli.check import check
from fedtap.cli.screen import examples, say
from fedtap.runtime.errors import UserError

if TYPE_CHECKING:
    from fedtap.data.guess.federation import GuessedFederation
    from fedtap.data.guess.written import WrittenScenario

EXAMPLES = examples(
    "fedtap new study --from clinic/notes.csv hospital/notes.csv",
    "fedtap new study --from north=data/a.jsonl south=data/b.jsonl lab=data/cells",
)
_FROM = "--from"
SCENARIO = "scenario.yaml"


class ManyPlaces(TyperCommand):
    """A command whose ``--from`` takes all words up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give each of those words an option of its own."""
        written: list[str] = []
        taking = False
        for word in args:
            taking = word == _FROM or (taking and not word.startswith("-"))
            if taking and word != _FROM:
                written.append(f"{_FROM}={word}")
            elif word != _FROM:
                written.append(word)
        return super().parse_args(ctx, written)


def new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the scenario goes; made if it is not there.")],
    places: Annotated[
        list[str] | None,
        typer.Option(
            _FROM,
            metavar="DATA...",
            help="For each site its table (.csv, .tsv, .jsonl, .xlsx), folder of pictures, folder of the library datasets, or a "
            "folder with several of these; ID=DATA names the site.",
        ),
    ] = None,
) -> None:
    """Write a scenario for data of your own: one client for each DATA, its tasks, columns and classes guessed.

    It says what was guessed and why, and which line to change where it is not sure; then it reads all data, as
    `fedtap scenario check` does. Sites with the same classes share the task. Columns called image, text, label, target, split and
    group are taken as what they say.
    """
    from fedtap.data.guess.federation import guess_federation
    from fedtap.data.guess.shares import shares_for_all
    from fedtap.data.guess.written import write_scenario
    from fedtap.runtime.storage import write_bytes
    from fedtap.scenario.plain_yaml import parse
    from fedtap.scenario.scenario import build_scenario

    if not places:
        raise UserError("--from is missing; name the data of each site: fedtap new FOLDER --from DATA...")
    path = folder / SCENARIO
    if path.exists():
        raise UserError(f"{path}: is there already; give another folder, or move it away")
    guessed = guess_federation(places)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); give another folder") from error
    draft = write_scenario(guessed, folder).text
    shares = shares_for_all(build_scenario(parse(draft), place=str(path), folder=folder.resolve(), text=draft))
    written = write_scenario(guessed, folder, shares)
    write_bytes(path, written.text.encode())
    _tell(guessed, written, path)
    check(path)
    say(f"Next: fedtap run {path}")


def _tell(guessed: GuessedFederation, written: WrittenScenario, path: Path) -> None:
    say(f"{path}: written, {len(guessed.clients)} sites")
    for client in guessed.clients:
        say(f"{client.id} ({client.place})")
        for name, task in client.tasks.items():
            what = f"{task.type.replace('_', ' ')} of {task.modality}, {task.rows} examples"
            say(f"  {name}: {what}")
            for reason in task.reasons:
                say(f"    {reason}")
            if task.classes:
                shown = ", ".join(task.classes[:12]) + (", ..." if len(task.classes) > 12 else "")
                say(f"    classes: {shown}")
    for name, clients in guessed.shared.items():
        say(f"{', '.join(clients)} share the task {name}")
    for note in guessed.notes:
        say(f"Note: {note}")
    for doubt in written.doubts:
        say(f"Unsure: {path}:{doubt.line}: client {doubt.client}, task {doubt.task}: {doubt.text}")
