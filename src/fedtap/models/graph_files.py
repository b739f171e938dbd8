"""Tasks of a model as files that run without fedtap: ONNX, or programs of ``torch.export``. Not here: what is in them (graph)."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram, export

from fedtap.backbones.checkpoints import one_line
from fedtap.models.export import Exported
from fedtap.models.folder import empty_folder
from fedtap.models.graph import OUTPUTS, TaskGraph, check_exportable
from fedtap.models.personal_model import PersonalModel
from fedtap.models.saved_model import ModelTask
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import write_bytes, write_json

ABOUT, TOKENIZER = "preprocessing.json", "tokenizer.json"
NEEDED = ("onnx", "onnxscript")


def write_onnx(model: PersonalModel, to: Path, task: str | None = None) -> Exported:
    """Write an ``.onnx`` file for each task, or for one; see :func:`_write`.

    Raises
    ------
    UserError
        If the extra ``onnx`` is not installed, or no task is one pass through the network.
    """
    missing = next((name for name in NEEDED if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise UserError(f"--format onnx: the package '{missing}' is not installed; pip install \"fedtap[onnx]\"")

    def save(program: ExportedProgram, output: str, path: Path) -> None:
        with _quiet():
            made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=[output])
            assert made is not None
            made.save(path)

    return _write(model, to, task, ".onnx", save)


def write_torch_export(model: PersonalModel, to: Path, task: str | None = None) -> Exported:
    """Write a ``.pt2`` file for each task, or for one, which ``torch.export.load`` reads; errors as for :func:`write_onnx`."""
    return _write(model, to, task, ".pt2", lambda program, output, path: torch.export.save(program, path))


def _write(model: PersonalModel, to: Path, task: str | None, suffix: str, save: Any) -> Exported:
    """Write a file a task, and what one needs to make its inputs: preprocessing.json, and the tokenizer where there is text."""
    chosen, left_out = [], []
    for each in [model.task(task)] if task is not None else model.tasks.values():
        try:
            check_exportable(model.loaded, each)
            chosen.append(each)
        except UserError as error:
            left_out.append(str(error))
    if not chosen:
        raise UserError(left_out[0])
    empty_folder(to)
    written = []
    for each in chosen:
        path = to / f"{each.name}{suffix}"
        save(_program(model, each), OUTPUTS[each.type], path)
        written.append(path)
    write_json(to / ABOUT, {**model.preprocessing, "tasks": {each.name: _about(each) for each in chosen}})
    if any("text" in each.pair.parts for each in chosen):
        write_bytes(to / TOKENIZER, model.loaded.backbone.vocabulary.tokenizer().encode())
    return Exported(tuple(written), tuple(left_out))


def _program(model: PersonalModel, task: ModelTask) -> ExportedProgram:
    """Return a task's graph for any number of examples, and any length of texts up to the tower's."""
    backbone = model.loaded.backbone
    batch = Dim("batch", min=1, max=1 << 20)
    given: dict[str, Any] = {"pixels": None, "ids": None, "mask": None}
    shapes: dict[str, Any] = dict(given)
    if "image" in task.pair.parts:
        size = int(model.preprocessing["image"]["size"])
        given["pixels"], shapes["pixels"] = torch.zeros(2, 3, size, size), {0: batch}
    if "text" in task.pair.parts:
        length = Dim("length", min=2, max=backbone.text.tokens)
        given["ids"] = torch.full((2, 3), backbone.vocabulary.end_id)
        given["mask"] = torch.ones(2, 3, dtype=torch.bool)
        shapes["ids"] = shapes["mask"] = {0: batch, 1: length}
    held = {name: value for name, value in given.items() if value is not None}
    try:
        with torch.no_grad(), _quiet():
            return export(
                TaskGraph(model.loaded, task).eval(), (), held, dynamic_shapes={name: shapes[name] for name in held}
            )
    except Exception as error:  # torch.export raises a dozen kinds
        raise UserError(
            f"task '{task.name}': torch cannot trace {backbone.spec.name} ({one_line(error)}); use --format fedtap"
        ) from error


def _about(task: ModelTask) -> Mapping[str, Any]:
    parts = {"image": ["pixels"], "text": ["ids", "mask"]}
    told: dict[str, Any] = {
        "inputs": [name for part in task.pair.parts for name in parts[part]],
        "output": OUTPUTS[task.type],
    }
    if task.classes:
        told["classes"] = list(task.classes)
    if task.range is not None:
        told["range"] = list(task.range)
    return told


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own insides away: what goes wrong raises."""
    import logging

    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
