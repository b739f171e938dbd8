"""The backbone `towers`: any vision tower beside any text tower. A new tower is one file and one line here.

Beside the towers that come as packages, any transformer of the hub or of a local folder will do (``pretrained_tower.py``).
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import torch

from fedtap.backbones import pretrained_tower
from fedtap.backbones.base import Backbone, BackboneSpec, ImageTower, TextTower
from fedtap.runtime.errors import UserError, nearest
from fedtap.scenario.scenario import BackboneSettings

VISION: dict[str, str] = {
    "efficientnet-lite0": "fedtap.backbones.efficientnet",
    "untrained-tiny": "fedtap.backbones.untrained",
}
TEXT: dict[str, str] = {
    "minilm-l6": "fedtap.backbones.minilm",
    "untrained-tiny": "fedtap.backbones.untrained",
}


class VisionModule(Protocol):
    """What a vision tower's file offers. Sizes need no weights and no optional package."""

    def vision_sizes(self, image_size: int) -> tuple[int, int]:
        """Return (dim, tokens) for images of ``image_size`` pixels."""

    def vision_tower(self, image_size: int, device: torch.device) -> ImageTower:
        """Return the tower."""


class TextModule(Protocol):
    """What a text tower's file offers. Sizes need no weights and no optional package."""

    def text_sizes(self) -> tuple[int, int, int]:
        """Return (dim, vocabulary, embedding dim)."""

    def text_tower(self, tokens: int, device: torch.device) -> TextTower:
        """Return the tower, for texts of at most ``tokens`` tokens."""


def _find(registry: dict[str, str], kind: str, name: str) -> object:
    if name not in registry:
        raise UserError(f"backbone.{kind}: unknown tower '{name}'; {nearest(name, registry)}")
    return importlib.import_module(registry[name])


def _vision(settings: BackboneSettings) -> VisionModule:
    return cast(VisionModule, _find(VISION, "vision", settings.vision))


def _text(settings: BackboneSettings) -> TextModule:
    return cast(TextModule, _find(TEXT, "text", settings.text))


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return the sizes of the two towers that the settings name."""
    if settings.path is not None:
        raise UserError("backbone.path: 'towers' reads its weights from installed packages; remove this key")
    _check(settings)
    lead, vision_adapters, text_adapters = 0, None, None
    if pretrained_tower.names_one(settings.vision, settings):
        vision_dim, vision_tokens, lead, vision_adapters = pretrained_tower.vision_sizes(settings)
    else:
        vision_dim, vision_tokens = _vision(settings).vision_sizes(settings.image_size)
    if pretrained_tower.names_one(settings.text, settings):
        text_dim, vocabulary, embedding_dim, text_adapters = pretrained_tower.text_sizes(settings)
    else:
        text_dim, vocabulary, embedding_dim = _text(settings).text_sizes()
    untrained = f" ({settings.weights})" if settings.weights != "pretrained" else ""
    return BackboneSpec(
        name=f"towers:{settings.vision}+{settings.text}{untrained}",
        vision_dim=vision_dim,
        vision_tokens=vision_tokens,
        text_dim=text_dim,
        text_tokens=settings.text_tokens,
        vocabulary=vocabulary,
        embedding_dim=embedding_dim,
        vision_lead=lead,
        vision_placed=pretrained_tower.names_one(settings.vision, settings),
        vision_adapters=vision_adapters,
        text_adapters=text_adapters,
    )


def _check(settings: BackboneSettings) -> None:
    """Refuse what only towers of the hub or of a folder can do, where one of the two is another."""
    own = [name for name in (settings.vision, settings.text) if not pretrained_tower.names_one(name, settings)]
    if settings.weights == "untrained-tiny":
        raise UserError("backbone.weights: 'towers' has no such weights; set vision and text to untrained-tiny instead")
    if own and settings.weights != "pretrained":
        raise UserError(f"backbone.weights: {own[0]} has no untrained weights; remove this key, or name another tower")
    if own and settings.lora is not None:
        raise UserError(
            f"backbone.lora: {own[0]} cannot be adapted; remove this key, or name a transformer of the hub or a folder"
        )


def build(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Return the two towers; their weights are read when the first item is encoded."""
    sizes = spec(settings)
    if pretrained_tower.names_one(settings.text, settings):
        text = pretrained_tower.text_tower(settings, device)
    else:
        text = _text(settings).text_tower(settings.text_tokens, device)
    if pretrained_tower.names_one(settings.vision, settings):
        vision = pretrained_tower.vision_tower(settings, device)
    else:
        vision = _vision(settings).vision_tower(settings.image_size, device)
    return Backbone(spec=sizes, vision=vision, text=text, vocabulary=text.vocabulary)
