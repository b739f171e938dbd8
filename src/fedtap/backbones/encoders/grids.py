"""Vision encoders whose blocks take more than hidden states: places on the grid, windows, stages that halve it.

Images are square, and so are grids.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from fedtap.backbones.encoders.split import Around, SplitEncoder


def _side(tokens: int) -> int:
    """Return the side of a square grid of so many tokens."""
    return math.isqrt(tokens)


class GridRotary(SplitEncoder):
    """Rotations by place on the grid (DINOv3)."""

    def _keep(self, model: nn.Module) -> None:
        self.rope = model.get_submodule("rope_embeddings")

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        assert self.facts.grid is not None
        pixels = _side(hidden.shape[1] - self.lead) * self.facts.grid.stride(self.config)
        image = hidden.new_zeros(()).expand(1, 1, pixels, pixels)  # its size is all that is asked of it
        return {"position_embeddings": self.rope(image)}


class Beit(SplitEncoder):
    """Biases by relative place, of each block or shared by all; they are interpolated for another size."""

    def _keep(self, model: nn.Module) -> None:
        self.shared = cast(Any, model).shared_position_bias

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        assert self.facts.grid is not None
        side, stride = _side(hidden.shape[1] - self.lead), self.facts.grid.stride(self.config)
        shared = None if self.shared is None else self.shared((side, side), dim_size=hidden.shape[1])
        return {"attention_mask": shared, "resolution": (side * stride, side * stride)}


class Windows(SplitEncoder):
    """Attention within windows, on a grid that is halved after each stage but the last (Swin)."""

    def _blocks(self, model: nn.Module) -> Sequence[nn.Module]:
        return [block for stage in _stages(model, self.facts.layers) for block in stage.blocks]

    def _keep(self, model: nn.Module) -> None:
        self.merges, last = nn.ModuleDict(), -1
        for stage in _stages(model, self.facts.layers):
            last += len(stage.blocks)
            if stage.downsample is not None:
                self.merges[str(last)] = stage.downsample

    def width(self, layer: int) -> int:
        """Return the width of the hidden states that a block takes."""
        return int(cast(Any, self.layers[layer]).layernorm_before.normalized_shape[0])

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        return {}

    def _call(self, layer: int, hidden: Tensor, around: Around) -> Tensor:
        block, side = cast(Any, self.layers[layer]), _side(hidden.shape[1])
        if side <= block.window_size:
            # One window, which is not shifted. The model's own way is to forget the shift for good; images of another size, or
            # another thread, may need it.
            block = copy.copy(block)
            block.shift_size = 0
        hidden = cast(Tensor, block(hidden, (side, side), always_partition=True)[0])
        if str(layer) in self.merges:
            hidden = self.merges[str(layer)](hidden, (side, side))
        return hidden


class Convolutions(SplitEncoder):
    """Convolutions, on a grid that is halved before each stage but the first (ConvNeXt, ResNet); tokens are its places."""

    def _blocks(self, model: nn.Module) -> Sequence[nn.Module]:
        return [block for stage in _stages(model, self.facts.layers) for block in stage.layers]

    def _keep(self, model: nn.Module) -> None:
        self.halvings, first = nn.ModuleDict(), 0
        for stage in _stages(model, self.facts.layers):
            if len(getattr(stage, "downsampling_layer", ())):  # in a ResNet a stage's first block halves by itself
                self.halvings[str(first)] = nn.Sequential(*stage.downsampling_layer)
            first += len(stage.layers)

    def width(self, layer: int) -> int:
        """Return the width of the hidden states that a block takes, or what halves the grid before it."""
        parts = [self.halvings[str(layer)]] if str(layer) in self.halvings else []
        convolutions = [
            part for whole in (*parts, self.layers[layer]) for part in whole.modules() if isinstance(part, nn.Conv2d)
        ]
        return convolutions[0].in_channels

    def _around(self, hidden: Tensor, mask: Tensor | None) -> Around:
        return {}

    def _call(self, layer: int, hidden: Tensor, around: Around) -> Tensor:
        if str(layer) in self.halvings:
            hidden = self.halvings[str(layer)](hidden)
        return super()._call(layer, hidden, around)

    def _taken(self, hidden: Tensor) -> Tensor:
        side = _side(hidden.shape[1])
        return hidden.transpose(1, 2).reshape(-1, hidden.shape[2], side, side)

    def _tokens(self, hidden: Tensor) -> Tensor:
        return hidden.flatten(2).transpose(1, 2)


def _stages(model: nn.Module, path: str) -> list[Any]:
    return list(cast(nn.ModuleList, model.get_submodule(path)))
