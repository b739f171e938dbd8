"""Frozen foundation models, one file each, loaded once per process. Nothing here trains, and nothing here is ever sent."""

from fedtap.backbones.base import (
    REGISTRY,
    Backbone,
    BackboneSpec,
    ImageTower,
    TextTower,
    Tower,
    check_files,
    load_backbone,
    spec,
)
from fedtap.backbones.vocabulary import Vocabulary
from fedtap.backbones.weights import loads

__all__ = [
    "REGISTRY",
    "Backbone",
    "BackboneSpec",
    "ImageTower",
    "TextTower",
    "Tower",
    "Vocabulary",
    "check_files",
    "load_backbone",
    "loads",
    "spec",
]
