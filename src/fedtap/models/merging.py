r"""Low-rank weights merged into the matrices that they adapt: the same answers from a model without adapters.

LoRA: :math:`x W + \frac{\alpha}{r} x A B = x (W + \frac{\alpha}{r} A B)`. Co-LoRA's inner factors have an offset too:
:math:`x W + b + \frac{\alpha}{r} (x A P + Q) B = x (W + \frac{\alpha}{r} A P B) + (b + \frac{\alpha}{r} Q B)`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from fedtap.backbones.lora import AdaptedLayers
from fedtap.components import ComponentState
from fedtap.experiment.planning import ARCHITECTURES
from fedtap.models.answers import LoadedModel
from fedtap.network.blocks import ATTENTION_NAMES, EXPERT_NAMES, FrozenLayers
from fedtap.network.network import Network
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import NetworkSettings


def merged_network(model: LoadedModel) -> Network:
    """Return a network on the CPU that answers as the model's, without adapters: neither in the fusion nor in the towers."""
    saved, settings = model.saved, model.saved.network
    state = saved.state
    blueprint = saved.blueprint
    frozen = {name: layers for name, layers in model.network.frozen.items() if isinstance(layers, FrozenLayers)}
    if frozen and settings.dual:
        raise UserError(
            f"'{saved.name}' mixes two adapters for each input, which no merged matrix can do; a method with one adapter a "
            "matrix gives a graph"
        )
    if frozen:
        blueprint = replace(blueprint, network=settings.model_copy(update={"adaptation": "full"}))
        state = ComponentState(
            {
                key: _merged(named, frozen[key.names[0]], key.kind, settings)
                if key.kind in ("attention", "expert")
                else named
                for key, named in saved.state.items()
            }
        )
    architecture = ARCHITECTURES[saved.architecture](blueprint, model.backbone)
    network = Network(architecture, state, seed=saved.seed)
    network.load(state)
    for layers in network.frozen.values():
        if isinstance(layers, AdaptedLayers):
            merge_tower(layers)
    return network.eval().requires_grad_(False)


def _merged(
    adapters: Mapping[str, Tensor], frozen: FrozenLayers, kind: str, settings: NetworkSettings
) -> dict[str, Tensor]:
    """Return the whole layers ``(L, ...)`` of a component by canonical name."""
    names = ATTENTION_NAMES if kind == "attention" else EXPERT_NAMES
    whole = {name: frozen.get_buffer(name).detach().cpu().clone() for name in names}
    for name in names:
        held = {**dict(frozen.named_buffers()), **adapters}
        factors = {letter: held[f"{name}_{letter}"].cpu() for letter in "ABPQ" if f"{name}_{letter}" in held}
        if not factors:
            continue
        rank, alpha = settings.low_rank(name)
        inner = factors["A"] @ factors["P"] if "P" in factors else factors["A"]
        whole[name] += alpha / rank * inner @ factors["B"]
        if "Q" in factors:
            bias = f"{name.removesuffix('_w')}_b"
            whole[bias] += alpha / rank * (factors["Q"][:, None, :] @ factors["B"])[:, 0]
    return whole


@torch.no_grad()
def merge_tower(layers: AdaptedLayers) -> None:
    """Put a plain map in the place of each adapted one of a network's own tower; the shared frozen weights stay as they are."""
    for path, adapted in layers.adapted().items():
        frozen = cast("nn.Linear | nn.Conv2d", adapted.base_layer)
        scale = float(cast(Any, adapted).scaling["default"])
        first, second = (cast(Any, adapted.get_submodule(f"lora_{side}"))["default"].weight for side in "AB")
        plain = copy.copy(frozen)  # with a dictionary of its own: the frozen map keeps its weights
        plain._parameters = dict(frozen._parameters)
        added = scale * (first @ second).T
        plain.weight = nn.Parameter(frozen.weight + added.view_as(frozen.weight), requires_grad=False)
        above, _, name = path.rpartition(".")
        setattr(layers.encoder.get_submodule(above), name, plain)
