"""FLAVA: an image, a text and a multimodal transformer, pretrained together. Singh et al. 2022, arXiv 2112.04482.

The image and the text transformer are the towers; the layers of the multimodal one, which follows them in the pretrained model,
seed the fusion. Weights come from the hub, from a local folder (``backbone.path``), or are random (``weights: untrained``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fedtap.backbones.assembly import assemble, sizes
from fedtap.backbones.base import Backbone, BackboneSpec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.encoders import adapters, check_targets, split
from fedtap.backbones.transformer_towers import Pixels
from fedtap.backbones.untrained import tiny_pieces
from fedtap.scenario.scenario import BackboneSettings

if TYPE_CHECKING:
    from transformers import FlavaConfig, FlavaModel

HUB = "facebook/flava-full"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the pixels, as published with the weights."""


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return the sizes: of the folder's configuration, or of the published model."""
    origin = Checkpoint.of(settings, HUB)
    config = _config(origin)
    image, text = config.image_config, config.text_config
    check_targets(settings, {"FLAVA's image transformer": image, "FLAVA's text transformer": text})
    return sizes(
        settings,
        origin,
        image=image,
        text=text,
        fusion=config.multimodal_config,
        image_adapters=adapters(settings, image, "FLAVA's image transformer"),
        text_adapters=adapters(settings, text, "FLAVA's text transformer"),
    )


def check(settings: BackboneSettings) -> None:
    """Check without weights that the folder holds what the model needs."""
    origin = Checkpoint.of(settings, HUB)
    origin.check_files(int(_config(origin).text_config.vocab_size))


def build(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Return the backbone; its weights are read once, when they are first needed."""
    origin = Checkpoint.of(settings, HUB)
    return assemble(
        settings,
        spec(settings),
        origin,
        device,
        images=lambda: split(_model(origin, device).image_model),
        texts=lambda: split(_model(origin, device).text_model),
        pixels=Pixels(settings.image_size, MEAN, DEVIATION),
        embedding=lambda: _model(origin, device).text_model.embeddings.word_embeddings.weight,
        layers=lambda: _model(origin, device).multimodal_model.encoder.layer,
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


def _config(origin: Checkpoint) -> Any:
    """Return the model's configuration; transformers types its parts too loosely to be of use."""
    from transformers import FlavaConfig

    return origin.config(FlavaConfig, _tiny)


def _model(origin: Checkpoint, device: torch.device) -> FlavaModel:
    from transformers import FlavaModel

    return origin.held(FlavaModel, _config(origin), device)
