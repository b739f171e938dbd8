"""CLIP and SigLIP: an image and a text encoder that were pretrained together, both towers of one checkpoint.

Radford et al. 2021, arXiv 2103.00020; Zhai et al. 2023, arXiv 2303.15343. Their tokens before pooling are the features; the
fusion starts anew. As for FLAVA, weights come from the hub, from a local folder (``backbone.path``), or are random. One half
alone is a tower of the backbone ``towers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fedtap.backbones.assembly import assemble
from fedtap.backbones.base import Backbone, BackboneSpec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.encoders import check_targets, split
from fedtap.backbones.pretrained_tower import image_sizes_of, pixels_of, spec_of, text_sizes_of
from fedtap.backbones.transformer_towers import Pixels
from fedtap.backbones.untrained import tiny_pieces
from fedtap.scenario.scenario import BackboneSettings

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Published:
    """A published pair: its name on the hub, the stem of its classes, and how it takes its pixels."""

    hub: str
    stem: str
    mean: Triple
    deviation: Triple


PUBLISHED = {
    "clip": Published(
        "openai/clip-vit-base-patch32",
        "CLIP",
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    "siglip": Published("google/siglip-base-patch16-224", "Siglip", (0.5,) * 3, (0.5,) * 3),
}
HUB = {name: each.hub for name, each in PUBLISHED.items()}


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return the sizes: of the folder's configuration, or of the published model."""
    origin = _origin(settings)
    config = _config(settings, origin)
    vision, text = config.vision_config, config.text_config
    places = [f"{PUBLISHED[settings.name].stem.upper()}'s {side} half" for side in ("image", "text")]
    check_targets(settings, dict(zip(places, (vision, text), strict=True)))
    image, words = image_sizes_of(settings, vision, places[0]), text_sizes_of(settings, text, places[1])
    return spec_of(origin.name, settings, image, words)


def check(settings: BackboneSettings) -> None:
    """Check without weights that the folder holds what the model needs."""
    origin = _origin(settings)
    origin.check_files(int(_config(settings, origin).text_config.vocab_size))
    if origin.path is not None and not origin.untrained:
        pixels_of(origin.folder() / "preprocessor_config.json", settings.image_size)


def build(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Return the backbone; its weights are read once, when they are first needed."""
    origin, published = _origin(settings), PUBLISHED[settings.name]
    config = _config(settings, origin)

    def model() -> Any:
        return origin.held(_class(settings, "Model"), config, device)

    if origin.path is not None and not origin.untrained:
        pixels = pixels_of(origin.folder() / "preprocessor_config.json", settings.image_size)
    else:
        pixels = Pixels(settings.image_size, published.mean, published.deviation)
    return assemble(
        settings,
        spec(settings),
        origin,
        device,
        images=lambda: split(model().vision_model),
        texts=lambda: split(model().text_model),
        pixels=pixels,
        embedding=lambda: model().text_model.embeddings.token_embedding.weight,
    )


def _origin(settings: BackboneSettings) -> Checkpoint:
    return Checkpoint.of(settings, HUB[settings.name])


def _class(settings: BackboneSettings, what: str) -> Any:
    import transformers

    return getattr(transformers, f"{PUBLISHED[settings.name].stem}{what}")


def _config(settings: BackboneSettings, origin: Checkpoint) -> Any:
    """Return the model's configuration."""

    def tiny() -> Any:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        words = {"vocab_size": tiny_pieces().get_vocab_size(), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
        return _class(settings, "Config")(
            vision_config={**sizes, "image_size": 32, "patch_size": 16},
            text_config={**sizes, **words, "max_position_embeddings": 64},
        )

    return origin.config(_class(settings, "Config"), tiny)
