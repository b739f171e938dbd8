"""Where the frozen weights of a backbone come from, by name, revision and digest; and the same backbone from other folders.

A model that leaves its run names the weights that it was trained beside, and is asked beside no others. Not here: how weights are
read (checkpoints), and where a model's folder keeps what it says of them (:mod:`fedtap.models`).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from fedtap.backbones import pretrained_tower, towers
from fedtap.backbones.base import REGISTRY
from fedtap.backbones.checkpoints import fetched, files_of
from fedtap.backbones.weights import checksum
from fedtap.hub.repository import is_commit
from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import NotPlainError, parse, read_bounded
from fedtap.runtime.storage import digest
from fedtap.scenario.backbone import BackboneSettings
from fedtap.scenario.settings import Settings

Role = Literal["vision", "text", "path"]
"""Which key of the settings names the weights: a tower's, or that of the whole model."""
Folders = Mapping[Role, Path]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
_MAX_CONFIG = 4_000_000  # bytes


class Origin(Settings):
    """Where the weights of one role come from.

    Parameters
    ----------
    role
        See :data:`Role`.
    source
        ``hub``; ``folder``, which only its owner has; ``package``, installed; or ``seed``, where the weights are made.
    name
        On the hub, of the folder, or of the tower that the package or the seed is for.
    revision
        The hub's commit, where it is known.
    files
        Digest of each file by name; those of a package are pinned in fedtap itself, and stand here as one.
    """

    role: Role
    source: Literal["hub", "folder", "package", "seed"]
    name: Annotated[str, Field(min_length=1, max_length=300)]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    files: Annotated[Mapping[FileName, Digest], Field(max_length=1_000)] = {}

    @property
    def in_a_folder(self) -> bool:
        """Whether the weights are files in a folder, which may lie elsewhere the next time."""
        return self.source in ("hub", "folder")


def folders_of(settings: BackboneSettings) -> dict[Role, Path]:
    """Return where the weights of each role lie that has a folder; what the hub has is fetched if it never was."""
    pretrained = settings.weights == "pretrained"
    found: dict[Role, Path] = {}
    if settings.name == "towers":
        for role, _ in _towers(settings):
            folder = pretrained_tower.folder_of(role, settings)
            if folder is not None:
                found[role] = folder
    elif settings.path is not None:
        found["path"] = settings.local(settings.path)
    elif pretrained:
        found["path"] = fetched(_published(settings), weights=True)
    return found


def wanted_of(settings: BackboneSettings) -> dict[str, tuple[str, ...]]:
    """Return a backbone's models of the hub, and patterns of which each must match a file; nothing is fetched."""
    weights = ("*.safetensors",) if settings.weights == "pretrained" else ()
    if settings.name != "towers":
        needed = weights and settings.path is None
        pixels = ("preprocessor_config.json",) if settings.name in ("clip", "siglip") else ()
        return {_published(settings): ("config.json", *pixels, "tokenizer.json", *weights)} if needed else {}
    beside = {"vision": "preprocessor_config.json", "text": "tokenizer.json"}
    found: dict[str, tuple[str, ...]] = {}
    for role, name in _towers(settings):
        if pretrained_tower.on_hub(role, settings):
            found[name] = tuple(sorted({"config.json", beside[role], *weights, *found.get(name, ())}))
    return found


def revisions_of(settings: BackboneSettings) -> dict[str, str]:
    """Return the commit of each model of the hub that a backbone is made of."""
    weights = settings.weights == "pretrained"
    found = {name: _commit(fetched(name, weights=weights)) for name in wanted_of(settings)}
    return {name: commit for name, commit in sorted(found.items()) if commit is not None}


def origins_of(settings: BackboneSettings) -> tuple[Origin, ...]:
    """Return where the weights of each role come from; every file of theirs is read, for its digest."""
    folders = folders_of(settings)
    named: list[tuple[Role, str]] = [*_towers(settings)]
    if settings.name != "towers":
        named = [("path", settings.path or _published(settings))]
    found: list[Origin] = []
    for role, name in named:
        if role not in folders:
            pinned = _pinned(role, name)
            found.append(
                Origin(
                    role=role, source="package" if pinned else "seed", name=name, files={name: pinned} if pinned else {}
                )
            )
            continue
        folder = folders[role]
        files = {file.name: _checksum(file) for file in files_of(folder, weights=settings.weights == "pretrained")}
        if folder.parent.name == "snapshots" and not (settings.local(name) / "config.json").is_file():
            found.append(Origin(role=role, source="hub", name=name, revision=_commit(folder), files=files))
        else:
            found.append(Origin(role=role, source="folder", name=folder.name, files=files))
    return tuple(found)


def placed(settings: BackboneSettings, origins: Iterable[Origin], folders: Folders) -> BackboneSettings:
    """Return settings whose weights lie in these folders, or where the hub's cache has them; all are what they were.

    Parameters
    ----------
    settings
        As :func:`named` gave them.
    origins
        What the weights were.
    folders
        Where those lie that are not to come from the hub.

    Raises
    ------
    UserError
        If a folder is not given, or holds other weights than these.
    """
    changes: dict[str, str] = {}
    for origin in origins:
        if not origin.in_a_folder:
            _check_made(origin)
            continue
        folder = folders.get(origin.role)
        if folder is None and origin.source == "hub":
            folder = fetched(origin.name, weights=settings.weights == "pretrained", revision=origin.revision)
        if folder is None:
            raise UserError(
                f"backbone: the model needs the folder '{origin.name}' that it was trained beside ({origin.role}); say where it "
                "is now (backbone=FOLDER, or --backbone FOLDER)"
            )
        _check_folder(origin, folder, settings)
        changes[origin.role] = str(folder.resolve())
    return settings.model_copy(update=changes)


def named(settings: BackboneSettings, origins: Iterable[Origin]) -> BackboneSettings:
    """Return settings that name weights and no place of this machine."""
    return settings.model_copy(update={each.role: each.name for each in origins if each.in_a_folder})


def _towers(settings: BackboneSettings) -> list[tuple[pretrained_tower.Side, str]]:
    return [("vision", settings.vision), ("text", settings.text)]


def _published(settings: BackboneSettings) -> str:
    """Return the name on the hub of a backbone that is one model."""
    names: Any = importlib.import_module(REGISTRY[settings.name]).HUB
    return str(names if isinstance(names, str) else names[settings.name])


def _pinned(role: Role, name: str) -> str | None:
    """Return a digest of what fedtap pins of a package's files, or None for what is made from a seed."""
    registry = {"vision": towers.VISION, "text": towers.TEXT}.get(role, {})
    if name not in registry:
        return None
    pins: Any = getattr(importlib.import_module(registry[name]), "SHA256", None)
    if pins is None:
        return None
    return digest(*(f"{key} {value}" for key, value in sorted(dict(pins).items()))) if isinstance(pins, dict) else pins


def _commit(folder: Path) -> str | None:
    return folder.name if is_commit(folder.name) else None


def _check_made(origin: Origin) -> None:
    pinned = _pinned(origin.role, origin.name)
    if origin.files.get(origin.name) != pinned:
        raise UserError(
            f"backbone: the model was trained beside other weights of {origin.name} than this version of fedtap pins; install "
            "the version that config.json names"
        )


def _check_folder(origin: Origin, folder: Path, settings: BackboneSettings) -> None:
    """Refuse a folder with other weights; what its configuration asks for has bounds, since it may be a stranger's."""
    if not (folder / "config.json").is_file():
        raise UserError(f"backbone: {folder} has no config.json; give the folder of '{origin.name}' ({origin.role})")
    refuse_code(folder / "config.json")
    if settings.weights != "pretrained" and folder.name != origin.name:
        raise UserError(
            f"backbone: {folder}: untrained weights are made from the folder's name; call it '{origin.name}' as before"
        )
    for name, known in sorted(origin.files.items()):
        if not (folder / name).is_file():
            raise UserError(
                f"backbone: {folder} has no {name}; give the whole folder of '{origin.name}' ({origin.role})"
            )
        if _checksum(folder / name) != known:
            raise UserError(
                f"backbone: {folder / name} is not that of '{origin.name}', beside which the model was trained (its digest is "
                "another); give that folder"
            )


def refuse_code(file: Path) -> None:
    """Refuse a configuration that asks for code of its own, or is none."""
    try:
        config = parse(read_bounded(file, _MAX_CONFIG))
    except (OSError, NotPlainError) as error:
        raise UserError(f"{file}: cannot be read ({error}); restore it from the checkpoint") from error
    if isinstance(config, dict) and "auto_map" in config:
        raise UserError(f"{file}: asks for code of its own (auto_map); take a checkpoint without")


def _checksum(file: Path) -> str:
    about = file.stat()
    return _checksum_of(file.resolve(), about.st_size, about.st_mtime_ns)


@functools.cache
def _checksum_of(file: Path, size: int, changed: int) -> str:
    return checksum(file)
