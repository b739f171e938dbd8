"""A client's saved model, read from a run's folder that may be a stranger's: what it asks for is known to fit before it is made.

A seal finds damage, and is no signature: config.json may say anything, and still be whole. So the sizes in it have bounds, they
are held against the tensors that are there, and what is built beside those against this machine's memory. Not here: answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from fedtap.backbones.base import spec
from fedtap.components import ComponentKey, ComponentState
from fedtap.data.sources import source
from fedtap.experiment.folder import model_identity
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.network.architecture import Blueprint, HeadInfo
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.manifest import read_record
from fedtap.runtime.memory import machine_memory
from fedtap.runtime.sealed import MAX_HEADER, Identity, read_sealed_json
from fedtap.scenario.scenario import BackboneSettings, ClientSettings, NetworkSettings, explain

MAX_CONFIG = 16_000_000  # bytes of config.json: a client's classes are the most of it
WIDEST = 4  # bytes of a scalar of a saved model
_MEND = "restore both from a copy"
Shapes = Mapping[ComponentKey, Mapping[str, torch.Size]]


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A client's model, and all that is needed to ask it; the backbone is not loaded yet."""

    name: str
    client: ClientSettings
    backbone: BackboneSettings
    network: NetworkSettings
    architecture: str
    blueprint: Blueprint
    classes: Mapping[str, tuple[str, ...]]
    seed: int
    state: ComponentState


def read_model(run: Path, client: str, model: str | None, task: str) -> SavedModel:
    """Read a client's model; ``model`` names one of its saved ones, by default the one that the run's method deploys.

    Raises
    ------
    UserError
        If the run, client, model or task does not exist, a file leads out of the run's folder or is damaged, or what it asks for
        has no bounds.
    """
    if not (run / "run.json").exists():
        raise UserError(f"{run}: holds no run; give the folder of a run made by `fedtap run`")
    record = read_record(within(run, run / "run.json"))
    folder, name, about = _model_of(run, client, model, task, record)
    config = within(run, folder / "config.json", inner=True)
    settings, backbone, network, architecture = _read_config(config, about)
    tasks = {each.name: each for each in settings.tasks}
    if task not in tasks:
        raise UserError(f"--task {task}: client '{client}' has no such task; {nearest(task, tasks)}")
    classes = {each.name: source(each.source).classes(each) for each in settings.tasks if each.type == "classification"}
    heads = {
        each.pair.head: HeadInfo(each.type, each.modality, len(classes.get(each.name, ()))) for each in settings.tasks
    }
    blueprint = Blueprint(spec(backbone), network, heads)
    weights = within(run, folder / "model.safetensors", inner=True)
    expected = _shapes(architecture, blueprint, settings)
    _check_size(weights, expected)
    _check_memory(config, architecture, blueprint, settings)
    state = ComponentState.load(weights, about)
    _check_shapes(folder, state, expected)
    lacking = sorted(ARCHITECTURES[architecture](blueprint).path(settings.pairs, task) - state.keys())
    if lacking:
        raise UserError(f"{folder}: weights and config.json do not fit together (no component '{lacking[0]}'); {_MEND}")
    return SavedModel(name, settings, backbone, network, architecture, blueprint, classes, int(record["seed"]), state)


def within(run: Path, path: Path, *, inner: bool = False) -> Path:
    """Return the folder ``run``, or with ``inner`` the path itself, if no link leads the path out of the run's folder.

    Raises
    ------
    UserError
        If one does: what a stranger's folder names on this machine is none of the run.
    """
    if path.exists() and not path.resolve().is_relative_to(run.resolve()):
        raise UserError(
            f"{path}: is a link that leads out of the run's folder, to {path.resolve()}; copy that file here"
        )
    return path if inner else run


def _model_of(
    run: Path, client: str, model: str | None, task: str, record: Mapping[str, Any]
) -> tuple[Path, str, Identity]:
    """Return the folder of the model that answers for a task, its name and its identity; a choice by task is followed once."""
    folder, name = _model_folder(run, client, model, record["deployed"])
    about = model_identity(record["kind"], client, name)
    config = within(run, folder / "config.json", inner=True)
    by_task = read_sealed_json(config, about, most=MAX_CONFIG).get("by_task")
    if by_task is None:
        return folder, name, about
    used = by_task.get(task, name) if isinstance(by_task, dict) else None  # of an unknown task more is said later
    if not isinstance(used, str):
        raise UserError(f"{config}: does not say which model task '{task}' uses; restore it from a copy")
    folder, used = _model_folder(run, client, used, used)
    return folder, used, model_identity(record["kind"], client, used)


def _model_folder(run: Path, client: str, model: str | None, deployed: str) -> tuple[Path, str]:
    """Return the folder of a client's model, and the model's name."""
    clients = sorted(path.name for path in (run / "clients").glob("*") if path.is_dir())
    if client not in clients:
        known = (
            nearest(client, clients) if clients else "the run saved no models (is it finished, and evaluation.save on?)"
        )
        raise UserError(f"--client {client}: {run} has no model of this client; {known}")
    models = sorted(path.name for path in (run / "clients" / client).glob("*") if path.is_dir())
    if not models:
        raise UserError(f"--client {client}: {run} holds none of its models; restore {run / 'clients'} from a copy")
    chosen = model or (deployed if deployed in models else models[0])
    if chosen not in models:
        raise UserError(f"--model {chosen}: client '{client}' has no such model; {nearest(chosen, models)}")
    return run / "clients" / client / chosen, chosen


def _read_config(path: Path, about: Identity) -> tuple[ClientSettings, BackboneSettings, NetworkSettings, str]:
    raw = read_sealed_json(path, about, most=MAX_CONFIG)
    architecture = raw.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise UserError(f"{path}: unknown architecture {str(architecture)[:40]!r}; {nearest('', ARCHITECTURES)}")
    read: dict[str, Any] = {}
    for key, kind in (("client", ClientSettings), ("backbone", BackboneSettings), ("network", NetworkSettings)):
        if not isinstance(raw.get(key), dict):
            raise UserError(f"{path}: '{key}' is missing, or no mapping; restore the file from a copy")
        try:
            read[key] = kind.model_validate(raw[key])
        except ValidationError as error:
            raise UserError(f"{path}: {key}: {explain(error, kind)}") from error
    return read["client"], read["backbone"], read["network"], architecture


def _shapes(architecture: str, blueprint: Blueprint, client: ClientSettings) -> Shapes:
    """Return the shapes of all tensors that a model of the client may have; nothing is allocated."""
    built = ARCHITECTURES[architecture](blueprint)
    return {key: built.shapes(key) for key in built.plan(client.pairs)}


def _bytes(shapes: Shapes) -> int:
    return WIDEST * sum(shape.numel() for named in shapes.values() for shape in named.values())


def _check_size(path: Path, expected: Shapes) -> None:
    """Refuse a file of weights with more bytes than the model can have, before it is read."""
    most = _bytes(expected) + MAX_HEADER
    if path.is_file() and path.stat().st_size > most:
        raise UserError(f"{path}: has {path.stat().st_size} bytes, and by config.json {most} at the most; {_MEND}")


def _check_memory(path: Path, architecture: str, blueprint: Blueprint, client: ClientSettings) -> None:
    """Refuse sizes of which not even the frozen layers, which no file holds, would fit into this machine."""
    whole = replace(blueprint, network=blueprint.network.model_copy(update={"adaptation": "full"}))
    needed, there = _bytes(_shapes(architecture, whole, client)), machine_memory()
    if needed > there:
        raise UserError(
            f"{path}: asks for a network of {needed / 1e9:.0f} GB, and this machine has {there / 1e9:.0f} GB; restore the file "
            "from a copy, or use a larger machine"
        )


def _check_shapes(folder: Path, state: ComponentState, expected: Shapes) -> None:
    for key, named in state.items():
        shapes = {name: tensor.shape for name, tensor in named.items()}
        if shapes != expected.get(key):
            raise UserError(f"{folder}: weights and config.json do not fit together (component '{key}'); {_MEND}")
        for name, tensor in named.items():
            if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
                raise UserError(f"{folder}: '{key}:{name}' holds what is no finite float32; restore it from a copy")
