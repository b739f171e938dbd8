"""Any encoder of the hub, or of a local folder, as one tower of the backbone ``towers``.

``vision`` takes ViT, DeiT, DINOv2 and DINOv3, BEiT, Swin, ConvNeXt, ResNet, and the vision half of CLIP and SigLIP; ``text``
takes BERT and what is built like it, DistilBERT, MPNet, ALBERT, DeBERTa, ModernBERT, T5's encoder, and the text half of CLIP and
SigLIP: the model types of :data:`fedtap.backbones.encoders.FACTS`. A name ``owner/name`` is one of the hub, unless there is such
a folder.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from fedtap.backbones.base import BackboneSpec, ImageTower, TextTower
from fedtap.backbones.checkpoints import Checkpoint, fetched, one_line, weight_files
from fedtap.backbones.encoders import FACTS, adapters, facts_of, model_class, skeleton, split
from fedtap.backbones.encoders.facts import kinds
from fedtap.backbones.lora import Adapters
from fedtap.backbones.transformer_towers import Pixels, check_length, images_of, patches, texts_of
from fedtap.backbones.weights import load_once, quiet
from fedtap.runtime.errors import UserError
from fedtap.runtime.folder_or_hub import folder_named, is_hub_name, means_folder, not_here
from fedtap.scenario.scenario import BackboneSettings

Side = Literal["vision", "text"]
SIDES: tuple[Side, ...] = ("vision", "text")


@dataclass(frozen=True, slots=True)
class Found:
    """An encoder to be a tower: where it comes from, its folder and its configuration."""

    origin: Checkpoint
    folder: Path
    config: Any

    def apart(self, device: torch.device) -> nn.Module:
        """Return the frozen encoder in parts, in memory once per device."""

        def read() -> nn.Module:
            return split(self.origin.load(model_class(self.config), self.config)).to(device)

        # both halves of a model of both sides have one origin
        return load_once((f"{self.origin.key} ({self.config.model_type})", str(device)), read)

    def words(self, device: torch.device) -> Tensor:
        """Return the frozen word embeddings ``(vocabulary, dim)``: those that the encoder begins with."""
        embeddings = [part for part in self.apart(device).modules() if isinstance(part, nn.Embedding)]
        weight: Tensor = embeddings[0].weight
        return weight


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """A vision tower's width and number of tokens, and as :class:`~fedtap.backbones.base.BackboneSpec` the rest."""

    dim: int
    tokens: int
    lead: int
    placed: bool
    adapters: Adapters | None


@dataclass(frozen=True, slots=True)
class TextSizes:
    """A text tower's width, vocabulary, width of the word embeddings, and adapters."""

    dim: int
    vocabulary: int
    embedding_dim: int
    adapters: Adapters | None


def spec_of(name: str, settings: BackboneSettings, image: ImageSizes, text: TextSizes) -> BackboneSpec:
    """Return the sizes of a backbone that is made of two towers; ``name`` is what it is called."""
    return BackboneSpec(
        name=name,
        vision_dim=image.dim,
        vision_tokens=image.tokens,
        text_dim=text.dim,
        text_tokens=settings.text_tokens,
        vocabulary=text.vocabulary,
        embedding_dim=text.embedding_dim,
        vision_lead=image.lead,
        vision_placed=image.placed,
        vision_adapters=image.adapters,
        text_adapters=text.adapters,
    )


def names_one(side: Side, settings: BackboneSettings) -> bool:
    """Tell whether a tower's name is that of a model of the hub or of a folder, rather than one of fedtap's own.

    Raises
    ------
    UserError
        If it is a path where no folder is, or the folder of no model.

    Examples
    --------
    >>> names_one("vision", BackboneSettings(vision="facebook/dinov2-small")), names_one("text", BackboneSettings())
    (True, False)
    """
    return _folder(side, settings) is not None or on_hub(side, settings)


def on_hub(side: Side, settings: BackboneSettings) -> bool:
    """Tell whether a tower's name is that of a model of the hub, and no folder is meant."""
    return _folder(side, settings) is None and is_hub_name(_name(side, settings))


def image_sizes(settings: BackboneSettings) -> ImageSizes:
    """Return the sizes of the vision tower.

    Raises
    ------
    UserError
        If there is no such model, or it cannot take images of the settings' size.
    """
    return image_sizes_of(settings, _find("vision", settings).config, settings.vision)


def image_sizes_of(settings: BackboneSettings, config: Any, place: str) -> ImageSizes:
    """Return the sizes of a vision encoder of this configuration; ``place`` is what messages call it."""
    grid = facts_of(config).grid
    assert grid is not None
    count = patches(settings, place, grid.stride(config), smallest=grid.smallest(config))
    lead = grid.lead(config)
    return ImageSizes(
        facts_of(config).dim(config), count + lead, lead, grid.placed(config), adapters(settings, config, place)
    )


def text_sizes(settings: BackboneSettings) -> TextSizes:
    """Return the sizes of the text tower.

    Raises
    ------
    UserError
        If there is no such model, or texts may be longer than it takes.
    """
    return text_sizes_of(settings, _find("text", settings).config, settings.text)


def text_sizes_of(settings: BackboneSettings, config: Any, place: str) -> TextSizes:
    """Return the sizes of a text encoder of this configuration; ``place`` is what messages call it."""
    facts = facts_of(config)
    check_length(settings, place, facts.longest(config))
    return TextSizes(
        facts.dim(config), int(config.vocab_size), facts.embedding_dim(config), adapters(settings, config, place)
    )


def configs(settings: BackboneSettings) -> dict[str, Any]:
    """Return the configurations of the towers that are of the hub or of a folder, by what they are called."""
    return {_name(side, settings): _find(side, settings).config for side in SIDES if names_one(side, settings)}


def vision_tower(settings: BackboneSettings, device: torch.device) -> ImageTower:
    """Return the vision tower; its pixels are scaled as its ``preprocessor_config.json`` says."""
    found = _find("vision", settings)
    sizes = image_sizes(settings)
    pixels = pixels_of(found.folder / "preprocessor_config.json", settings.image_size)
    return images_of(
        found.origin,
        settings,
        device,
        dim=features_dim(sizes, found.config),
        encoder=lambda: found.apart(device),
        pixels=pixels,
        adapters=sizes.adapters,
    )


def text_tower(settings: BackboneSettings, device: torch.device) -> TextTower:
    """Return the text tower, with its own vocabulary."""
    found = _find("text", settings)
    sizes = text_sizes(settings)
    return texts_of(
        found.origin,
        settings,
        device,
        dim=sizes.dim,
        encoder=lambda: found.apart(device),
        embedding=lambda: found.words(device),
        words=sizes.vocabulary,
        adapters=sizes.adapters,
    )


def check_files(side: Side, settings: BackboneSettings) -> None:
    """Check without reading weights that the folder of a tower holds what a tower needs.

    Raises
    ------
    UserError
        If it does not; of a model of the hub nothing more is fetched.
    """
    found = _find(side, settings)
    if _folder(side, settings) is None:
        return
    if side == "text":
        found.origin.check_files(int(found.config.vocab_size))
        return
    if not found.origin.untrained:
        weight_files(found.folder)
    pixels_of(found.folder / "preprocessor_config.json", settings.image_size)


def features_dim(sizes: ImageSizes, config: Any) -> int:
    """Return the width of a vision tower's features: in one with stages it is another before the first adapted layer."""
    adapted = sizes.adapters
    return sizes.dim if adapted is None or adapted.raw else skeleton(config).width(adapted.first)


def pixels_of(file: Path, size: int) -> Pixels:
    """Return how a model takes its pixels, by its ``preprocessor_config.json``.

    Raises
    ------
    UserError
        If the file does not say.
    """
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


def _name(side: Side, settings: BackboneSettings) -> str:
    return settings.vision if side == "vision" else settings.text


def _folder(side: Side, settings: BackboneSettings) -> Path | None:
    name = _name(side, settings)
    place = settings.local(name)
    if not (is_hub_name(name) or means_folder(name, place)):
        return None
    return folder_named(name, place, key=f"backbone.{side}")


def folder_of(side: Side, settings: BackboneSettings) -> Path | None:
    """Return the folder of a tower of the hub or of a folder, fetched if it never was; None of one of fedtap's own.

    Raises
    ------
    UserError
        As :func:`names_one`; also if it cannot be fetched.
    """
    if on_hub(side, settings):
        return fetched(_name(side, settings), weights=settings.weights == "pretrained")
    return _folder(side, settings)


def _find(side: Side, settings: BackboneSettings) -> Found:
    name = _name(side, settings)
    return _found(side, name, settings.local(name), _folder(side, settings), settings.weights)


@functools.cache
def _found(side: Side, name: str, place: Path, here: Path | None, weights: str) -> Found:
    """Return the model that a name means, that at a place if there is one; its configuration is read, and fetched if need be.

    Raises
    ------
    UserError
        If there is no such model, or it is none that can be a tower of this side.
    """
    from transformers import AutoConfig

    try:
        folder = fetched(name, weights=False) if here is None else here
    except UserError as error:
        raise UserError(f"{error}{not_here(name, place)}") from error
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/config.json: {one_line(error)}; restore it from the checkpoint") from error
    if f"{config.model_type}_{side}_model" in FACTS and hasattr(config, f"{side}_config"):
        config = getattr(config, f"{side}_config")  # a model of both sides, such as CLIP: its halves are models too
    kind, known = str(config.model_type), kinds(pixels=side == "vision")
    if kind not in known:
        other = "text" if side == "vision" else "vision"
        there = f"; as backbone.{other} it will do" if kind in kinds(pixels=side == "text") else ""
        raise UserError(f"backbone.{side}: {name} is of type '{kind}'; use one of {', '.join(known)}{there}")
    # an untrained one is made from its configuration, wherever that lies
    origin = Checkpoint("towers", name, str(folder) if here or weights != "pretrained" else None, weights)
    return Found(origin, folder, config)
