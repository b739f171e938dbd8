"""The section of a scenario that names the frozen foundation model. Not here: the models themselves (backbones)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from fedtap.runtime.home import expanded
from fedtap.scenario.settings import Depth, Float, Int, Rate, Settings, Width


class LoraSettings(Settings):
    """Low-rank adapters on the queries and values of the frozen towers; a tower's are trained and sent with its encoder.

    ``layers`` is how many of a tower's last layers are adapted, ``all`` by default. Whatever lies before them is computed once
    per example, so that with two adapted layers of twelve a step costs a sixth of the tower.
    """

    rank: Width = 8
    alpha: Rate = 16.0
    dropout: Annotated[Float, Field(ge=0, lt=1)] = 0.0
    layers: Depth | Literal["all"] = "all"


class BackboneSettings(Settings):
    """The frozen foundation model.

    ``weights`` is ``pretrained``, or ``untrained`` (random, of the full size) or ``untrained-tiny`` for tests and dry runs where
    the backbone offers it. ``path`` is a local folder with pretrained weights; without one they come from the hub, or from an
    installed package. A relative folder, here or as the name of a tower, starts at the scenario's own. ``image_size`` is in
    pixels. ``lora`` adapts the towers; without it they are frozen altogether.
    """

    name: str = "towers"
    vision: str = "efficientnet-lite0"
    text: str = "minilm-l6"
    weights: Literal["pretrained", "untrained", "untrained-tiny"] = "pretrained"
    path: str | None = None
    image_size: Annotated[Int, Field(gt=0, le=4_096)] = 96
    text_tokens: Annotated[Int, Field(ge=4, le=512)] = 32
    lora: LoraSettings | None = None
    _home: Path = PrivateAttr(default=Path())

    def at(self, home: Path) -> BackboneSettings:
        """Return the same settings with relative folders starting at ``home``."""
        placed = self.model_copy()
        placed._home = home
        return placed

    def local(self, name: str) -> Path:
        """Return the folder that a name means where it means one."""
        return self._home / expanded(name)

    def whole(self) -> BackboneSettings:
        """Return the same settings with folders that mean the same wherever they are read."""
        given = {key: getattr(self, key) for key in ("path", "vision", "text")}
        folders = {
            key: self.local(name) for key, name in given.items() if name is not None and self.local(name).is_dir()
        }
        return self.model_copy(update={key: str(folder.resolve()) for key, folder in folders.items()})
