"""``fedtap predict``: ask a client's model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtap.cli.options import AsJson, RunFolder
from fedtap.cli.screen import examples, say, say_json
from fedtap.runtime.errors import UserError

EXAMPLES = examples(
    "fedtap predict runs/quickstart --client c1 --task sentiment --text 'a warm and funny film'",
    "fedtap predict runs/quickstart --client c4 --task vqa --image shape.png --text 'what color is the shape?'",
    "fedtap predict runs/quickstart --client c3 --task vqa_pictures --image shape.png --to drawn.png",
)


def predict(
    run: RunFolder,
    client: Annotated[str, typer.Option("--client", "-c", metavar="ID", help="Whose model to ask.")],
    task: Annotated[str, typer.Option("--task", "-t", metavar="NAME", help="Which of that client's tasks.")],
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="The picture to give it.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="TEXT", help="The text to give it.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Which of its models; by default the one to deploy.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.png", help="Where to save the picture that it draws.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model of a client of a finished run.

    A classifier answers with its classes and their probabilities, a generator with a text, and a task that draws writes its
    picture to the file that --to names.
    """
    import fedtap

    if image is not None and not image.is_file():
        raise UserError(f"--image {image}: no such file")
    if to is not None and to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: pictures are written as PNG; give a name that ends in .png")
    answer = fedtap.predict(run, client=client, task=task, image=image, text=text, model=model)
    _show(answer, to=to, as_json=as_json)


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
        say(str(output["label"]))
        ranked = sorted(output["probabilities"].items(), key=lambda item: (-item[1], item[0]))
        for label, probability in ranked:
            say(f"  {probability:7.2%}  {label}")
    else:
        say(str(output))
