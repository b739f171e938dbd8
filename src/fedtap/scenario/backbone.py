"""The section of a scenario that names the frozen foundation model. Not here: the models themselves (backbones)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from fedtap.runtime.folder_or_hub import means_folder
from fedtap.runtime.home import expanded
from fedtap.scenario.settings import Depth, Float, Int, Rate, Settings, Width

Target = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class LoraSettings(Settings):
    """Low-rank adapters on linear maps of the frozen towers; a tower's are trained and sent with its encoder.

    ``layers`` is how many of a tower's last layers are adapted, ``all`` by default. Whatever lies before them is computed once
    per example, so that with two adapted layers of twelve a step costs a sixth of the tower. ``targets`` names what is adapted in
    a layer: ``query``, ``key``, ``value``, ``output``, ``gate``, ``up``, ``down``, as far as a tower has them, ``qkv`` where the
    three are one, ``conv1`` to ``conv3`` of a ResNet. Each tower takes those that it has; by default the queries and the values.
    """

    rank: Width = 8
    alpha: Rate = 16.0
    dropout: Annotated[Float, Field(ge=0, lt=1)] = 0.0
    layers: Depth | Literal["all"] = "all"
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=16)] | None = None

    @model_serializer(mode="wrap")
    def _without_default(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``targets`` out where nobody chose: runs from before there was a choice are the same runs."""
        values: dict[str, Any] = serialise(self)
        return {key: value for key, value in values.items() if key != "targets" or value is not None}


class BackboneSettings(Settings):
    """The frozen foundation model.

    ``name`` is ``towers``, ``clip``, ``siglip``, ``flava`` or ``vilt``. ``weights`` is ``pretrained``, or ``untrained`` (random,
    of the full size) or ``untrained-tiny`` for tests and dry runs where the backbone offers it. ``path`` is a local folder with
    pretrained weights; without one they come from the hub, or from an installed package. A relative folder, here or as the name
    of a tower, starts at the scenario's own. ``image_size`` is in pixels. ``lora`` adapts the towers; without it they are frozen
    altogether.
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
        towers = {"vision": self.vision, "text": self.text}
        folders = {key: self.local(name) for key, name in towers.items() if means_folder(name, self.local(name))}
        if self.path is not None:
            folders["path"] = self.local(self.path)
        folders = {key: folder for key, folder in folders.items() if folder.is_dir()}
        return self.model_copy(update={key: str(folder.resolve()) for key, folder in folders.items()})
