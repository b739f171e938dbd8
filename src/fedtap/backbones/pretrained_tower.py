"""Any vision or text transformer of the hub, or of a local folder, as one tower of the backbone ``towers``.

``vision`` takes ViT, DINOv2, SigLIP and CLIP, ``text`` BERT and what is built like it (MiniLM among them): the model types of
:data:`fedtap.backbones.transformer.FAMILIES`. A name with a slash is one of the hub, unless there is such a folder.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from PIL import Image as Pillow
from torch import nn

from fedtap.backbones.base import ImageTower, TextTower
from fedtap.backbones.checkpoints import Checkpoint, fetched, one_line
from fedtap.backbones.lora import Adapters
from fedtap.backbones.transformer import FAMILIES, Transformer
from fedtap.backbones.transformer_towers import Pixels, adapters, check_length, images_of, patches, texts_of
from fedtap.backbones.weights import load_once
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings

Side = Literal["vision", "text"]
MODELS = {
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "siglip_vision_model": "SiglipVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "bert": "BertModel",
}
"""The class of each model type, without whatever the checkpoint has beside it (poolers, heads, the other half of CLIP)."""

WITHOUT_START = ("siglip_vision_model",)
"""Vision transformers whose tokens are their patches and nothing else; the others have a classification token first."""


@dataclass(frozen=True, slots=True)
class Found:
    """A transformer to be a tower: where it comes from, its model type, its folder and its configuration."""

    origin: Checkpoint
    kind: str
    folder: Path
    config: Any

    def apart(self, device: torch.device) -> nn.Module:
        """Return the frozen model in parts, in memory once per device."""
        import transformers

        def read() -> nn.Module:
            return Transformer(self.origin.load(getattr(transformers, MODELS[self.kind]), self.config)).to(device)

        return load_once((self.origin.key, str(device)), read)


def names_one(name: str, settings: BackboneSettings) -> bool:
    """Tell whether a tower's name is that of a model of the hub or of a folder, rather than one of fedtap's own.

    >>> names_one("facebook/dinov2-small", BackboneSettings()), names_one("minilm-l6", BackboneSettings())
    (True, False)
    """
    return "/" in name or (settings.local(name) / "config.json").is_file()


def vision_sizes(settings: BackboneSettings) -> tuple[int, int, int, Adapters | None]:
    """Return (dim, tokens, tokens before those of the grid, adapters) of the vision tower.

    Raises
    ------
    UserError
        If there is no such model, or images are not a whole number of patches.
    """
    found = _find("vision", settings)
    count = patches(settings, settings.vision, int(found.config.patch_size))
    lead = 0 if found.kind in WITHOUT_START else 1
    return (
        found.config.hidden_size,
        count + lead,
        lead,
        adapters(settings, found.config, settings.vision),
    )


def text_sizes(settings: BackboneSettings) -> tuple[int, int, int, Adapters | None]:
    """Return (dim, vocabulary, embedding dim, adapters) of the text tower.

    Raises
    ------
    UserError
        If there is no such model, or texts may be longer than it takes.
    """
    config = _find("text", settings).config
    check_length(settings, settings.text, int(config.max_position_embeddings))
    return config.hidden_size, config.vocab_size, config.hidden_size, adapters(settings, config, settings.text)


def vision_tower(settings: BackboneSettings, device: torch.device) -> ImageTower:
    """Return the vision tower; its pixels are scaled as its ``preprocessor_config.json`` says."""
    found = _find("vision", settings)
    dim, _, _, adapted = vision_sizes(settings)
    pixels = _pixels(found.folder / "preprocessor_config.json", settings.image_size)
    return images_of(
        found.origin, settings, device, dim=dim, encoder=lambda: found.apart(device), pixels=pixels, adapters=adapted
    )


def text_tower(settings: BackboneSettings, device: torch.device) -> TextTower:
    """Return the text tower, with its own vocabulary."""
    found = _find("text", settings)
    dim, vocabulary, _, adapted = text_sizes(settings)
    return texts_of(
        found.origin,
        settings,
        device,
        dim=dim,
        encoder=lambda: found.apart(device),
        embedding=lambda: cast(Any, found.apart(device)).before[0].word_embeddings.weight,
        words=vocabulary,
        adapters=adapted,
    )


def _find(side: Side, settings: BackboneSettings) -> Found:
    name = settings.vision if side == "vision" else settings.text
    return _found(side, name, settings.local(name), settings.weights)


@functools.cache
def _found(side: Side, name: str, place: Path, weights: str) -> Found:
    """Return the model that a name means, that at a place if there is one; its configuration is read, and fetched if need be.

    Raises
    ------
    UserError
        If there is no such model, or it is none that can be a tower of this side.
    """
    from transformers import AutoConfig

    local = (place / "config.json").is_file()
    folder = place if local else fetched(name, weights=False)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/config.json: {one_line(error)}; restore it from the checkpoint") from error
    if f"{config.model_type}_vision_model" in MODELS and side == "vision":
        config = config.vision_config  # a model of both sides, such as CLIP: its vision half is a model of its own
    kind = str(config.model_type)
    wanted = [known for known in MODELS if FAMILIES[known].pixels == (side == "vision")]
    if kind not in wanted:
        raise UserError(f"backbone.{side}: {name} is of type '{kind}'; use one of {', '.join(sorted(wanted))}")
    # an untrained one is made from its configuration, wherever that lies
    origin = Checkpoint("towers", name, str(folder) if local or weights != "pretrained" else None, weights)
    return Found(origin, kind, folder, config)


def _pixels(file: Path, size: int) -> Pixels:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        mean, deviation = (tuple(float(x) for x in values[key]) for key in ("image_mean", "image_std"))
        resample = Pillow.Resampling(int(values.get("resample", Pillow.Resampling.BICUBIC)))
        (red, green, blue), (dev_red, dev_green, dev_blue) = mean, deviation
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: {one_line(error)}; it must hold image_mean and image_std, three numbers each"
        ) from error
    return Pixels(size, (red, green, blue), (dev_red, dev_green, dev_blue), resample)
