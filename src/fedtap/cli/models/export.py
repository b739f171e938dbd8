"""``fedtap export``: a client's model in a folder of its own, to be used without the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtap.cli.options import BackboneFolder, Client, ModelFolder, ModelName
from fedtap.cli.screen import examples, note, say

EXAMPLES = examples(
    "fedtap export runs/quickstart --client c1 --to models/c1",
    "fedtap export runs/mine --client clinic --to models/clinic --with-backbone",
    "fedtap export runs/quickstart --client c0 --to models/c0-onnx --format onnx",
    "fedtap export models/clinic --to models/clinic-peft --format peft",
)


def export(
    place: ModelFolder,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write, a new one or an empty one.")],
    client: Client = None,
    model: ModelName = None,
    format: Annotated[
        str, typer.Option("--format", "-f", metavar="NAME", help="fedtap, peft, onnx or torch.export.")
    ] = "fedtap",
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="With onnx and torch.export: this task alone, not all that can be."
        ),
    ] = None,
    with_backbone: Annotated[
        bool, typer.Option("--with-backbone", help="With fedtap: carry the frozen weights along.")
    ] = False,
    backbone: BackboneFolder = None,
) -> None:
    """Write a client's model into a folder that needs neither the run nor the data.

    fedtap: all that `fedtap predict` and `fedtap.PersonalModel` need. peft: the towers' low-rank adapters, for
    `PeftModel.from_pretrained`. onnx and torch.export: a file a task, with the low-rank weights merged, for classification and
    reconstruction.
    """
    from fedtap.models.export import export_model
    from fedtap.models.opened import open_model

    opened = open_model(place, client=client, model=model, backbone=backbone)
    done = export_model(opened, to, format, task=task, with_backbone=with_backbone)
    for line in done.left_out:
        note(line)
    for path in done.written:
        say(str(path))
