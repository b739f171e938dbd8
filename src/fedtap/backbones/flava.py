"""FLAVA: an image, a text and a multimodal transformer, pretrained together. Singh et al. 2022, arXiv 2112.04482.

The image and the text transformer are the towers; the layers of the multimodal one, which follows them in the pretrained model,
seed the fusion. Weights come from the hub, from a local folder (``backbone.path``), or are random (``weights: untrained``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from fedtap.backbones.base import Backbone, BackboneSpec, FusionSpec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.layers import pre_norm_layer
from fedtap.backbones.transformer import Transformer
from fedtap.backbones.transformer_towers import (
    Pixels,
    TransformerImages,
    TransformerTexts,
    adapters,
    check_length,
    grid_side,
)
from fedtap.backbones.untrained import tiny_pieces
from fedtap.backbones.weights import load_once
from fedtap.config import BackboneSettings
from fedtap.errors import UserError

if TYPE_CHECKING:
    from transformers import FlavaConfig, FlavaModel

HUB = "facebook/flava-full"
MEAN, DEVIATION = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)  # as published with the weights


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return the sizes: of the folder's configuration, or of the published model."""
    config = _config(settings)
    image, text, fusion = config.image_config, config.text_config, config.multimodal_config
    side = grid_side(settings, "FLAVA", image.patch_size)
    check_length(settings, "FLAVA", text.max_position_embeddings)
    return BackboneSpec(
        name=_checkpoint(settings).name,
        vision_dim=image.hidden_size,
        vision_tokens=side * side + 1,
        text_dim=text.hidden_size,
        text_tokens=settings.text_tokens,
        vocabulary=text.vocab_size,
        embedding_dim=text.hidden_size,
        vision_lead=1,
        vision_placed=True,
        vision_adapters=adapters(settings, image, "FLAVA's image transformer"),
        text_adapters=adapters(settings, text, "FLAVA's text transformer"),
        fusion=FusionSpec(
            layers=fusion.num_hidden_layers,
            dim=fusion.hidden_size,
            heads=fusion.num_attention_heads,
            hidden=fusion.intermediate_size,
            eps=fusion.layer_norm_eps,
        ),
    )


def _tiny() -> FlavaConfig:
    """Return a configuration of a thousandth of the size."""
    from transformers import FlavaConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    words = tiny_pieces().get_vocab_size()
    return FlavaConfig(
        image_config={**sizes, "image_size": 32, "patch_size": 16},
        text_config={**sizes, "vocab_size": words},
        multimodal_config={**sizes, "num_hidden_layers": 4},
        projection_dim=32,
        hidden_size=32,
    )


def _config(settings: BackboneSettings) -> Any:
    """Return the model's configuration; transformers types its parts too loosely to be of use."""
    from transformers import FlavaConfig

    return _checkpoint(settings).config(FlavaConfig, _tiny)


def _checkpoint(settings: BackboneSettings) -> Checkpoint:
    return Checkpoint.of(settings, HUB)


def _model(settings: BackboneSettings, device: torch.device) -> FlavaModel:
    """Return the frozen model; whatever settings differ in, its weights are in memory once per device."""
    from transformers import FlavaModel

    origin = _checkpoint(settings)

    def read() -> nn.Module:
        model: nn.Module = origin.load(FlavaModel, _config(settings))
        return model.to(device)

    return cast("FlavaModel", load_once((origin.key, str(device)), read))


def _fusion(settings: BackboneSettings, device: torch.device, count: int) -> Sequence[Mapping[str, Tensor]]:
    """Return the first ``count`` layers of the multimodal transformer in canonical form."""
    return [pre_norm_layer(layer) for layer in _model(settings, device).multimodal_model.encoder.layer[:count]]


def build(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Return the backbone; its weights are read once, when they are first needed."""
    sizes, origin = spec(settings), _checkpoint(settings)
    words = origin.vocabulary(lambda: _model(settings, device).text_model.embeddings.word_embeddings.weight)
    if len(words) > sizes.vocabulary:
        raise UserError(
            f"backbone: the tokenizer of {origin.name} has {len(words)} tokens, its text model {sizes.vocabulary}; restore "
            "both from one checkpoint"
        )
    label = origin.label
    vision = TransformerImages(
        name=f"{origin.key} image",
        id=origin.id(f"{label}-image-{settings.image_size}px", device, sizes.vision_adapters),
        dim=sizes.vision_dim,
        device=device,
        encoder=lambda: Transformer(_model(settings, device).image_model),
        pixels=Pixels(settings.image_size, MEAN, DEVIATION),
        adapters=sizes.vision_adapters,
    )
    text = TransformerTexts(
        name=f"{origin.key} text",
        id=origin.id(f"{label}-text-{settings.text_tokens}tokens", device, sizes.text_adapters),
        dim=sizes.text_dim,
        device=device,
        encoder=lambda: Transformer(_model(settings, device).text_model),
        vocabulary=words,
        tokens=settings.text_tokens,
        adapters=sizes.text_adapters,
    )
    return Backbone(sizes, vision, text, words, fusion=lambda count: _fusion(settings, device, count))
