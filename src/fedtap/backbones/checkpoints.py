"""Where a foundation model of the library ``transformers`` comes from: the hub, a local folder, or nowhere (untrained).

A model of the hub is fetched once into the hub's own cache and is a local folder from then on. Only safetensors files are read:
nothing is unpickled.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fedtap.backbones.lora import Adapters
from fedtap.backbones.vocabulary import Vocabulary
from fedtap.backbones.weights import checksum, load_once, package_folder, quiet, tower_id
from fedtap.hub import record
from fedtap.runtime import text
from fedtap.runtime.errors import UserError
from fedtap.runtime.folder_or_hub import folder_named
from fedtap.runtime.plain_json import NotPlainError, parse, read_bounded
from fedtap.runtime.randomness import derive
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import BackboneSettings

Model = TypeVar("Model", bound=nn.Module)
_SMALL, _WEIGHTS = ("*.json", "vocab.txt"), ("*.safetensors",)
"""The files of a checkpoint, as the hub's client takes patterns; with weights of any other form it would have to be unpickled."""
_MAX_JSON = 16_000_000  # bytes; tokenizers with thousands of added tokens have some megabytes of them


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's origin.

    Parameters
    ----------
    family
        The backbone, e.g. ``flava``.
    hub
        Its name on the hub.
    path
        A local folder in the layout of ``save_pretrained``, in place of the hub; of an untrained model it gives the sizes and the
        tokenizer.
    weights
        As in the settings.
    """

    family: str
    hub: str
    path: str | None
    weights: str

    @classmethod
    def of(cls, settings: BackboneSettings, hub: str) -> Checkpoint:
        """Return what the settings ask for.

        Raises
        ------
        UserError
            If they name a folder that is not there, or one for the tiny model, which needs none.
        """
        if settings.path is not None and settings.weights == "untrained-tiny":
            raise UserError("backbone.path: means nothing with weights: untrained-tiny; remove one of the two")
        if settings.path is None:
            return cls(settings.name, hub, None, settings.weights)
        place, mend = (
            settings.local(settings.path),
            f"give one written by save_pretrained, or leave out the key to fetch {hub}",
        )
        folder = folder_named(settings.path, place, key="backbone.path", mend=mend)
        if folder is None:
            raise UserError(f"backbone.path: there is no folder {place}; {mend}")
        return cls(settings.name, hub, str(folder), settings.weights)

    @property
    def name(self) -> str:
        """What it is called in every output; it says so where the model is untrained."""
        published = self.hub if self.path is None else Path(self.path).name
        if self.untrained and self.path is None:
            return f"{self.family}:{self.weights}"
        return f"{self.family}:{published} ({self.weights})" if self.untrained else f"{self.family}:{published}"

    @property
    def key(self) -> str:
        """What tells it from any other in this process: two folders may have one name."""
        return self.name if self.path is None else f"{self.name} in {Path(self.path).resolve()}"

    @property
    def label(self) -> str:
        """The name as a part of a file's name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name)

    @property
    def untrained(self) -> bool:
        """Whether its weights are random."""
        return self.weights != "pretrained"

    def folder(self) -> Path:
        """Return the local folder of a pretrained model; one of the hub is fetched if it never was.

        Raises
        ------
        UserError
            If it cannot be fetched.
        """
        return Path(self.path) if self.path is not None else fetched(self.hub, weights=True)

    def check_files(self, words: int) -> None:
        """Check without reading weights that a folder holds some, and a tokenizer of at most ``words`` tokens.

        Raises
        ------
        UserError
            If it does not; a model of the hub is not looked at.
        """
        if self.path is None:
            return
        if not self.untrained:
            weight_files(Path(self.path))
        self.fitting(self.vocabulary(lambda: torch.empty(0)), words)

    def fitting(self, vocabulary: Vocabulary, words: int) -> Vocabulary:
        """Return a vocabulary, if the text model has an embedding for each of its tokens."""
        if len(vocabulary) > words:
            raise UserError(
                f"backbone: the tokenizer of {self.name} has {len(vocabulary)} tokens, its text model {words}; restore both "
                "from one checkpoint"
            )
        return vocabulary

    def config(self, kind: type[Any], tiny: Callable[[], Any]) -> Any:
        """Return the model's configuration.

        That of the hub's model is the class's default where it was never brought by ``fedtap fetch``: nothing has to be fetched.
        """
        if self.weights == "untrained-tiny":
            return tiny()
        folder = self.path
        if folder is None:
            here = None if self.untrained else record.at_hand("model", self.hub)
            if here is None:
                return kind()
            folder = str(here.folder)
        try:
            with quiet():
                return kind.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{folder}/config.json: {one_line(error)}; restore it from the checkpoint") from error

    def load(self, kind: type[Model], config: Any) -> Model:
        """Return the model: read strictly, or made from a fixed seed where it is untrained.

        Raises
        ------
        UserError
            If a file is missing or damaged, or a tensor of the model is not in it.
        """
        if self.untrained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(0, self.name))
                return kind(config)
        folder = self.folder()
        weight_files(folder)
        try:
            with quiet():
                model, report = kind.from_pretrained(  # type: ignore[attr-defined]
                    folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
                )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise UserError(f"{folder}: the weights cannot be read ({one_line(error)}); restore them") from error
        missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)  # no pooler is ever used
        if missing:
            raise UserError(
                f"{folder}: holds no {missing[0]} ({len(missing)} tensors are missing); use a whole checkpoint"
            )
        return cast(Model, model)

    def held(self, kind: type[Model], config: Any, device: torch.device) -> Model:
        """Return the model as :meth:`load` does, in memory once per device, whatever else settings differ in."""
        return cast(Model, load_once((self.key, str(device)), lambda: self.load(kind, config).to(device)))

    def vocabulary(self, embedding: Callable[[], Tensor]) -> Vocabulary:
        """Return its vocabulary; an untrained model of the full size takes that of MiniLM, which is BERT's."""
        from tokenizers import Tokenizer

        from fedtap.backbones import minilm
        from fedtap.backbones.untrained import tiny_pieces

        if self.weights == "untrained-tiny":
            return Vocabulary(tiny_pieces(), embedding)
        if self.untrained and self.path is None:
            return Vocabulary(
                Tokenizer.from_file(str(package_folder(minilm.PACKAGE) / "model/tokenizer.json")), embedding
            )
        file = self.folder() / "tokenizer.json"
        pad = _padding(file.parent)
        try:
            return Vocabulary(Tokenizer.from_file(str(file)), embedding, pad=pad)
        except Exception as error:  # tokenizers raises nothing narrower
            raise UserError(
                f"{file}: not a tokenizer that can be read ({one_line(error)}); restore it, or write it with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
            ) from error

    def id(self, label: str, device: torch.device, adapters: Adapters | None, *parts: str) -> str:
        """Return the id of one of its towers (see :class:`~fedtap.backbones.base.Tower`)."""
        depth = "whole" if adapters is None else f"before layer {adapters.first}"
        if adapters is not None and adapters.raw:
            return f"{label}-raw"  # nothing of it is ever stored
        content = self.name if self.untrained else _content(self.folder())
        return tower_id(label, device, content, importlib.metadata.version("transformers"), depth, *parts)


@functools.cache
def fetched(hub: str, *, weights: bool, revision: str | None = None) -> Path:
    """Return the folder of a model of the hub, fetched if it never was.

    ``weights`` says whether its weights are needed too; ``revision`` is a commit, by default that of ``fedtap fetch``, or else
    the newest.

    Raises
    ------
    UserError
        If it cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    here = record.at_hand("model", hub)
    if here is not None and revision in (None, here.revision):
        if not weights or here.repository.matching(_WEIGHTS):
            return here.folder
        revision = here.revision
    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=wanted_files(weights=weights)))
    except Exception as error:  # the hub's client raises a dozen kinds, and httpx's beside them
        raise UserError(
            f"backbone: '{hub}' cannot be fetched from the hub ({one_line(error)}); run `fedtap fetch SCENARIO` with a "
            "connection, or give a local folder of it instead"
        ) from error


def wanted_files(*, weights: bool) -> list[str]:
    """Return what is wanted of a checkpoint on the hub, as patterns of its client."""
    return [*_SMALL, *(_WEIGHTS if weights else ())]


def files_of(folder: Path, *, weights: bool) -> list[Path]:
    """Return the files of a checkpoint's folder that :func:`fetched` would fetch."""
    return sorted(file for pattern in wanted_files(weights=weights) for file in folder.glob(pattern) if file.is_file())


def _padding(folder: Path) -> str | int | None:
    """Return the padding token of a checkpoint, or its id: what its tokenizer's files say, or else its model's configuration."""
    for name, key in (("tokenizer_config.json", "pad_token"), ("special_tokens_map.json", "pad_token")):
        found = _said(folder / name, key)
        if isinstance(found, dict):
            found = found.get("content")
        if isinstance(found, str):
            return found
    found = _said(folder / "config.json", "pad_token_id")
    return found if isinstance(found, int) else None


def _said(file: Path, key: str) -> Any:
    """Return what a file of JSON says under a key; None where it says nothing, or is not there."""
    if not file.is_file():
        return None
    try:
        values = parse(read_bounded(file, _MAX_JSON), finite=False)  # a length without limit is written as infinity
    except (OSError, NotPlainError) as error:
        raise UserError(f"{file}: cannot be read ({error}); restore it from the checkpoint") from error
    return values.get(key) if isinstance(values, dict) else None


@functools.cache
def _content(folder: Path) -> str:
    """Return a digest of the weights in a folder; a snapshot of the hub is named by its commit already."""
    if folder.parent.name == "snapshots":
        return folder.name
    return digest(*(checksum(file) for file in (*weight_files(folder), folder / "config.json")))


def weight_files(folder: Path) -> list[Path]:
    """Return the files with a checkpoint's weights.

    Raises
    ------
    UserError
        If there are none that may be read, or only adapters.
    """
    files = sorted(folder.glob("*.safetensors"))
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder}: holds adapters of peft, which name a model elsewhere; merge them into it (merge_and_unload) and save that"
        )
    if not files:
        raise UserError(
            f"{folder}: holds no .safetensors file; save the model with save_pretrained(..., safe_serialization=True)"
        )
    return files


def one_line(error: Exception) -> str:
    """Return what an error of another library says, as one short line."""
    return text.one_line(str(error), 200) or type(error).__name__
