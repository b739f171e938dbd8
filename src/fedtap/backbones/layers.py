"""Layers of a pretrained multimodal transformer in the form in which the fusion takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

_LINEAR = {
    "q": "attention.attention.query",
    "k": "attention.attention.key",
    "v": "attention.attention.value",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
_NORM = {"ln1": "layernorm_before", "ln2": "layernorm_after"}


def pre_norm_layer(layer: nn.Module) -> Mapping[str, Tensor]:
    """Return the tensors of a layer of FLAVA or ViLT under canonical names (see :data:`fedtap.network.blocks.LayerWeights`).

    Matrices come as (in, out), the transpose of how ``nn.Linear`` holds them; nothing is copied.
    """
    tensors: dict[str, Tensor] = {}
    for name, path in _LINEAR.items():
        linear = cast(nn.Linear, layer.get_submodule(path))
        tensors[f"{name}_w"], tensors[f"{name}_b"] = linear.weight.detach().T, linear.bias.detach()
    for name, path in _NORM.items():
        norm = cast(nn.LayerNorm, layer.get_submodule(path))
        tensors[f"{name}_w"], tensors[f"{name}_b"] = norm.weight.detach(), norm.bias.detach()
    return tensors
