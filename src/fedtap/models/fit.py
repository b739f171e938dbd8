"""Whether weights fit what is said of them, and this machine: known before anything is made. They may be a stranger's.

The sizes that a configuration asks for are held against the tensors that are there, and what is built beside those against this
machine's memory. Not here: what a configuration may say (``saved_model.py``, ``folder.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedtap.components import ComponentKey, ComponentState
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.network.architecture import Blueprint
from fedtap.pairs import Pair
from fedtap.runtime.errors import UserError
from fedtap.runtime.memory import machine_memory
from fedtap.runtime.sealed import Identity
from fedtap.runtime.sealed_tensors import MAX_HEADER

MAX_CONFIG = 16_000_000  # bytes of config.json: a client's classes are the most of it
WIDEST = 4  # bytes of a scalar of a saved model
_MEND = "restore both from a copy"
Shapes = Mapping[ComponentKey, Mapping[str, torch.Size]]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder out of which nothing that is read may lead."""

    root: Path

    def file(self, path: Path) -> Path:
        """Return a path within the folder.

        Raises
        ------
        UserError
            If a link leads out of it: what a stranger's folder names on this machine is none of it.
        """
        if path.exists() and not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(
                f"{path}: is a link that leads out of the folder {self.root}, to {path.resolve()}; copy that file here"
            )
        return path


def read_weights(
    path: Path, about: Identity, *, architecture: str, blueprint: Blueprint, pairs: Sequence[Pair]
) -> ComponentState:
    """Read the weights of a model with these pairs.

    Raises
    ------
    UserError
        If they are missing, damaged, of something else than ``about``, or do not fit; or this machine is too small.
    """
    expected = _shapes(architecture, blueprint, pairs)
    _check_size(path, expected)
    _check_memory(path, architecture, blueprint, pairs)
    state = ComponentState.load(path, about)
    _check_shapes(path, state, expected)
    lacking = sorted(expected.keys() - state.keys())
    if lacking:
        raise UserError(f"{path}: weights and config.json do not fit together (no component '{lacking[0]}'); {_MEND}")
    return state


def _shapes(architecture: str, blueprint: Blueprint, pairs: Sequence[Pair]) -> Shapes:
    """Return the shapes of all tensors that a model with these pairs has; nothing is allocated."""
    built = ARCHITECTURES[architecture](blueprint)
    return {key: built.shapes(key) for key in built.plan(pairs)}


def _bytes(shapes: Shapes) -> int:
    return WIDEST * sum(shape.numel() for named in shapes.values() for shape in named.values())


def _check_size(path: Path, expected: Shapes) -> None:
    """Refuse a file of weights with more bytes than the model can have, before it is read."""
    most = _bytes(expected) + MAX_HEADER
    if path.is_file() and path.stat().st_size > most:
        raise UserError(f"{path}: has {path.stat().st_size} bytes, and by config.json {most} at the most; {_MEND}")


def _check_memory(path: Path, architecture: str, blueprint: Blueprint, pairs: Sequence[Pair]) -> None:
    """Refuse sizes of which not even the frozen layers, which no file holds, would fit into this machine."""
    whole = replace(blueprint, network=blueprint.network.model_copy(update={"adaptation": "full"}))
    needed, there = _bytes(_shapes(architecture, whole, pairs)), machine_memory()
    if needed > there:
        raise UserError(
            f"{path}: its config.json asks for a network of {needed / 1e9:.0f} GB, and this machine has {there / 1e9:.0f} GB; "
            "restore the file from a copy, or use a larger machine"
        )


def _check_shapes(path: Path, state: ComponentState, expected: Shapes) -> None:
    for key, named in state.items():
        shapes = {name: tensor.shape for name, tensor in named.items()}
        if shapes != expected.get(key):
            raise UserError(f"{path}: weights and config.json do not fit together (component '{key}'); {_MEND}")
        for name, tensor in named.items():
            if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
                raise UserError(f"{path}: '{key}:{name}' holds what is no finite float32; restore it from a copy")
