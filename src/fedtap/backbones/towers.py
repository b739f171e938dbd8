"""The backbone `towers`: any vision tower beside any text tower. A new tower is one file and one line here.

Beside the towers that come as packages, any encoder of the hub or of a local folder will do (``pretrained_tower.py``).
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import torch

from fedtap.backbones import pretrained_tower
from fedtap.backbones.base import Backbone, BackboneSpec, ImageTower, TextTower
from fedtap.backbones.encoders import check_targets
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.folder_or_hub import folder_named
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


def _find(registry: dict[str, str], side: pretrained_tower.Side, settings: BackboneSettings) -> object:
    name = settings.vision if side == "vision" else settings.text
    if name not in registry:
        folder_named(name, settings.local(name), key=f"backbone.{side}")
        raise UserError(
            f"backbone.{side}: unknown tower '{name}', and there is no such folder; {nearest(name, registry)}, a folder, or a "
            "name of the hub (owner/name)"
        )
    return importlib.import_module(registry[name])


def _vision(settings: BackboneSettings) -> VisionModule:
    return cast(VisionModule, _find(VISION, "vision", settings))


def _text(settings: BackboneSettings) -> TextModule:
    return cast(TextModule, _find(TEXT, "text", settings))


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return the sizes of the two towers that the settings name."""
    if settings.path is not None:
        raise UserError("backbone.path: 'towers' reads its weights from installed packages; remove this key")
    _check(settings)
    check_targets(settings, pretrained_tower.configs(settings) if settings.lora is not None else {})
    if pretrained_tower.names_one("vision", settings):
        image = pretrained_tower.image_sizes(settings)
    else:
        image = pretrained_tower.ImageSizes(*_vision(settings).vision_sizes(settings.image_size), 0, False, None)
    if pretrained_tower.names_one("text", settings):
        text = pretrained_tower.text_sizes(settings)
    else:
        text = pretrained_tower.TextSizes(*_text(settings).text_sizes(), None)
    untrained = f" ({settings.weights})" if settings.weights != "pretrained" else ""
    return pretrained_tower.spec_of(f"towers:{settings.vision}+{settings.text}{untrained}", settings, image, text)


def _check(settings: BackboneSettings) -> None:
    """Refuse what only towers of the hub or of a folder can do, where one of the two is another."""
    sides: tuple[tuple[pretrained_tower.Side, str], ...] = (("vision", settings.vision), ("text", settings.text))
    own = [name for side, name in sides if not pretrained_tower.names_one(side, settings)]
    if settings.weights == "untrained-tiny":
        raise UserError("backbone.weights: 'towers' has no such weights; set vision and text to untrained-tiny instead")
    if own and settings.weights != "pretrained":
        raise UserError(f"backbone.weights: {own[0]} has no untrained weights; remove this key, or name another tower")
    if own and settings.lora is not None:
        raise UserError(
            f"backbone.lora: {own[0]} cannot be adapted; remove this key, or name an encoder of the hub or a folder"
        )


def check(settings: BackboneSettings) -> None:
    """Check without weights that the folders of the towers hold what towers need."""
    for side in pretrained_tower.SIDES:
        if pretrained_tower.names_one(side, settings):
            pretrained_tower.check_files(side, settings)


def build(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Return the two towers; their weights are read when the first item is encoded."""
    sizes = spec(settings)
    if pretrained_tower.names_one("text", settings):
        text = pretrained_tower.text_tower(settings, device)
    else:
        text = _text(settings).text_tower(settings.text_tokens, device)
    if pretrained_tower.names_one("vision", settings):
        vision = pretrained_tower.vision_tower(settings, device)
    else:
        vision = _vision(settings).vision_tower(settings.image_size, device)
    return Backbone(spec=sizes, vision=vision, text=text, vocabulary=text.vocabulary)
