"""From a model, or a configuration alone, to its encoder in parts; and what LoRA adapts in it. Not here: the facts, the calls."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from fedtap.backbones.encoders import calls, grids
from fedtap.backbones.encoders.facts import Calls, facts_of
from fedtap.backbones.encoders.split import SplitEncoder, linear_size
from fedtap.backbones.lora import Adapters
from fedtap.backbones.weights import quiet
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings

CALLS: dict[Calls, type[SplitEncoder]] = {
    "plain": SplitEncoder,
    "causal": calls.Causal,
    "relative": calls.Relative,
    "disentangled": calls.Disentangled,
    "t5": calls.T5,
    "rotary": calls.Rotary,
    "grid-rotary": grids.GridRotary,
    "beit": grids.Beit,
    "windows": grids.Windows,
    "convolutions": grids.Convolutions,
}
_MOST_LAYERS = 1_000


def split(model: nn.Module) -> SplitEncoder:
    """Return a model's encoder in parts.

    Raises
    ------
    UserError
        As for :class:`~fedtap.backbones.encoders.split.SplitEncoder`.
    """
    return CALLS[facts_of(cast(Any, model).config).calls](model)


def model_class(config: Any) -> Any:
    """Return the class of a configuration's encoder: what ``AutoModel`` takes, or the half of it that encodes."""
    import transformers

    name = facts_of(config).model
    return transformers.MODEL_MAPPING[type(config)] if name is None else getattr(transformers, name)


def skeleton(config: Any) -> SplitEncoder:
    """Return the encoder of a configuration without memory for its weights, on torch's meta device.

    Raises
    ------
    UserError
        If the configuration makes no model.
    """
    kind: Any = type(config)
    return _skeleton(kind, config.to_json_string(use_diff=False))


@functools.lru_cache(maxsize=16)
def _skeleton(kind: Any, values: str) -> SplitEncoder:
    config = kind.from_dict(json.loads(values))
    depths = getattr(config, "depths", None) or [config.num_hidden_layers]
    if sum(depths) > _MOST_LAYERS:
        raise UserError(f"backbone: config.json asks for {sum(depths)} layers; {_MOST_LAYERS} are the most")
    try:
        with torch.device("meta"), quiet():
            return split(model_class(config)(config))
    except (ValueError, TypeError, RuntimeError, KeyError, IndexError) as error:
        raise UserError(
            f"backbone: config.json makes no {config.model_type} ({' '.join(str(error).split())[:200]}); restore it from the "
            "checkpoint"
        ) from error


def adapters(settings: BackboneSettings, config: Any, place: str) -> Adapters | None:
    """Return the adapters that the settings ask of an encoder of this configuration, or None.

    Raises
    ------
    UserError
        If they are to adapt more layers than there are, or what no block has; ``place`` names the encoder.
    """
    lora = settings.lora
    if lora is None:
        return None
    encoder = skeleton(config)
    layers = len(encoder.layers)
    adapted = layers if lora.layers == "all" else lora.layers
    if adapted > layers:
        raise UserError(
            f"backbone.lora.layers: {place} has {layers} layers, not {adapted}; give at most {layers}, or all"
        )
    first = layers - adapted
    distinct = list({id(block): number for number, block in reversed(list(enumerate(encoder.layers)))}.values())
    if first and len(distinct) < layers:
        raise UserError(
            f"backbone.lora.layers: the layers of {place} share their weights, so some of them cannot be adapted alone; give all"
        )
    roles = _roles(lora.targets, encoder, place)
    matrices: dict[str, tuple[int, int]] = {}
    for number in sorted(number for number in distinct if number >= first):
        for role in roles:
            size = linear_size(encoder.layers[number].get_submodule(encoder.roles[role]))
            assert size is not None
            matrices[f"layer{number:02d}_{role}"] = size
    return Adapters(first, matrices, lora.rank, lora.alpha, lora.dropout)


def _roles(asked: Sequence[str] | None, encoder: SplitEncoder, place: str) -> list[str]:
    """Return the roles to adapt, of those that the encoder has."""
    if asked is None:
        return [role for role in encoder.facts.adapted if role in encoder.roles]
    found = [role for role in encoder.roles if role in asked]
    if not found:
        raise UserError(
            f"backbone.lora.targets: {place} has nothing of {', '.join(asked)} to adapt; name some of {', '.join(encoder.roles)}"
        )
    return found


def check_targets(settings: BackboneSettings, configs: Mapping[str, Any]) -> None:
    """Raise UserError if a target is in none of the encoders, which are given by what they are called.

    A list of targets may speak of several encoders: each takes those that it has.
    """
    asked = settings.lora.targets if settings.lora is not None else None
    if asked is None:
        return
    there = {place: list(skeleton(config).roles) for place, config in configs.items()}
    for target in asked:
        if not any(target in roles for roles in there.values()):
            told = "; ".join(f"{place} has {', '.join(roles)}" for place, roles in there.items())
            raise UserError(f"backbone.lora.targets: '{target}' is no part of a layer; {told}")
