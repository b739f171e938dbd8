"""The forms in which a model can be had. Not here: each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError, nearest

OWN = "fedtap"
Write: TypeAlias = "Callable[[PersonalModel, Path, str | None], Exported]"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and a line on each thing that could not be."""

    written: tuple[Path, ...]
    left_out: tuple[str, ...] = ()


def export_model(
    model: PersonalModel, to: Path, format: str = "fedtap", *, task: str | None = None, with_backbone: bool = False
) -> Exported:
    """Write a model into a folder, in fedtap's own form or one of :data:`FORMATS`.

    Parameters
    ----------
    model
        The model.
    to
        A folder that is new or empty.
    format
        ``fedtap``; ``peft``, the towers' adapters alone; ``onnx`` or ``torch.export``, a file for each task.
    task
        Of the last two: this task alone.
    with_backbone
        Of the first: carry the frozen weights along.

    Raises
    ------
    UserError
        If there is no such form, an option is for another, the folder is not empty, or nothing of the model can be had so.
    """
    if format not in (OWN, *FORMATS):
        raise UserError(f"--format {format}: no such form; {nearest(format, (OWN, *FORMATS))}")
    if with_backbone and format != OWN:
        raise UserError(f"--with-backbone is for --format fedtap; {format} leaves no choice, so leave it out")
    if task is not None and format in (OWN, "peft"):
        raise UserError(
            f"--task is for --format onnx and torch.export; {format} takes the whole model, so leave it out"
        )
    if format == OWN:
        return Exported((model.save_pretrained(to, with_backbone=with_backbone),))
    return FORMATS[format]()(model, to, task)


def _peft() -> Write:
    from fedtap.models.peft_folder import write_peft

    return write_peft


def _onnx() -> Write:
    from fedtap.models.graph_files import write_onnx

    return write_onnx


def _torch_export() -> Write:
    from fedtap.models.graph_files import write_torch_export

    return write_torch_export


FORMATS: Mapping[str, Callable[[], Write]] = {"peft": _peft, "onnx": _onnx, "torch.export": _torch_export}
"""The others, by the name that ``--format`` takes. Each is imported when it is asked for: what it needs may not be installed."""
