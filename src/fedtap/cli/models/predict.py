"""``fedtap predict``: ask a client's model, once or for a whole table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtap.cli.options import AsJson, BackboneFolder, Client, ModelFolder, ModelName
from fedtap.cli.screen import examples, note, say, say_json, screen
from fedtap.runtime.errors import UserError

if TYPE_CHECKING:
    from fedtap.models.personal_model import PersonalModel

EXAMPLES = examples(
    "fedtap predict runs/quickstart --client c1 --task sentiment --text 'a warm and funny film'",
    "fedtap predict runs/quickstart --client c4 --task vqa --image shape.png --text 'what color is the shape?'",
    "fedtap predict runs/quickstart --client c3 --task vqa_pictures --image shape.png --to drawn.png",
    "fedtap predict models/clinic --input notes.csv --output answers.csv",
    "fedtap predict models/lab --task cells --input scans --output answers.jsonl",
)


def predict(
    place: ModelFolder,
    client: Client = None,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", metavar="NAME", help="Which of the model's tasks; needed if it has several."),
    ] = None,
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="The picture to give it.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="TEXT", help="The text to give it.")] = None,
    model: ModelName = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.png", help="Where to save the picture that it draws.")
    ] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input", "-i", metavar="FILE|DIR", help="Many examples: a .csv, a .jsonl, or a folder of pictures."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Of many: where the answers go, .csv or .jsonl."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures", metavar="DIR", help="Of many: a folder in which pictures that a table names may lie too."
        ),
    ] = None,
    on_unreadable: Annotated[
        str,
        typer.Option("--on-unreadable", metavar="WORD", help="Of many: refuse, or skip, which writes the reason down."),
    ] = "refuse",
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Of many: so many at once.")] = 32,
    backbone: BackboneFolder = None,
    as_json: AsJson = False,
) -> None:
    """Ask a client's model: one example, or all of a file or folder.

    A classifier answers with its classes and their probabilities, a generator with a text, and a task that draws writes its
    picture to the file that --to names. With --input and --output the model is loaded once, examples are read and answered in
    batches, and the output has the columns of the input and the answers beside them.
    """
    from fedtap.models.opened import open_model

    if image is not None and not image.is_file():
        raise UserError(f"--image {image}: no such file")
    if to is not None and to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: pictures are written as PNG; give a name that ends in .png")
    if (given is None) != (output is None):
        raise UserError("--input and --output go together; give both, or neither")
    if given is not None and (image or text or to):
        raise UserError("--input has the examples; leave out --image, --text and --to")
    if on_unreadable not in ("refuse", "skip"):
        raise UserError(f"--on-unreadable {on_unreadable}: give refuse or skip")
    opened = open_model(place, client=client, model=model, backbone=backbone)
    asked = opened.task(task)
    if given is None or output is None:
        answer = opened.predict(image=image, text=text, task=asked.name)
        _show({"task": asked.name, "model": opened.answering(asked.name), "output": answer}, to=to, as_json=as_json)
        return
    _answer_all(opened, asked.name, given, output, pictures, batch_size, skip=on_unreadable == "skip")


def _answer_all(
    model: PersonalModel, task: str, given: Path, output: Path, pictures: Path | None, batch_size: int, *, skip: bool
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fedtap.models.tables import AnswerWriter, RowReader, answer_rows

    reader = RowReader(model.task(task), given, pictures)
    reader.check()
    console = screen(errors=True)
    columns = (
        TextColumn("answering"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with AnswerWriter(output) as writer, Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("answering", total=reader.about())
        faults = answer_rows(
            model, reader, writer, batch_size=batch_size, skip=skip, tell=lambda done: bar.update(shown, completed=done)
        )
        bar.update(shown, total=writer.count, completed=writer.count)
    if faults:
        note(f"{faults} of {writer.count} could not be read; the column 'error' says why")
    say(f"{writer.count} answered: {output}" if not faults else f"{writer.count - faults} answered: {output}")


def _show(answer: dict[str, Any], *, to: Path | None, as_json: bool) -> None:
    output = answer["output"]
    if hasattr(output, "shape"):
        if to is None:
            raise UserError(f"task '{answer['task']}' draws a picture; say where to save it with --to FILE.png")
        from PIL import Image

        Image.fromarray(output).save(to)
        output = str(to)
    if as_json:
        say_json({**answer, "output": output})
    elif isinstance(output, dict):
        say(str(output["label"]) if "label" in output else "; ".join(output["labels"]) or "(no label)")
        ranked = sorted(output["probabilities"].items(), key=lambda item: (-item[1], item[0]))
        for label, probability in ranked:
            say(f"  {probability:7.2%}  {label}")
    else:
        say(str(output))
