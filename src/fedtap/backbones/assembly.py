"""What FLAVA and ViLT have in common: sizes from their configurations, and two towers beside pretrained fusion layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from fedtap.backbones.base import Backbone, BackboneSpec, FusionSpec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.layers import pre_norm_layer
from fedtap.backbones.lora import Adapters
from fedtap.backbones.transformer_towers import Pixels, TransformerImages, TransformerTexts
from fedtap.config import BackboneSettings
from fedtap.errors import UserError


def sizes(
    settings: BackboneSettings,
    origin: Checkpoint,
    *,
    image: Any,
    text: Any,
    fusion: Any,
    image_adapters: Adapters | None,
    text_adapters: Adapters | None,
) -> BackboneSpec:
    """Return the sizes of a model whose parts have these configurations.

    Raises
    ------
    UserError
        If the settings' images are not a whole number of patches, or their texts longer than the model takes.
    """
    size, patch, most = settings.image_size, int(image.patch_size), int(text.max_position_embeddings)
    model = settings.name
    if size % patch:
        near = max(patch, round(size / patch) * patch)
        raise UserError(
            f"backbone.image_size: {model} cuts images into patches of {patch} pixels; give {near}, not {size}"
        )
    if settings.text_tokens > most:
        raise UserError(
            f"backbone.text_tokens: {model} takes at most {most} tokens, not {settings.text_tokens}; give {most}"
        )
    return BackboneSpec(
        name=origin.name,
        vision_dim=image.hidden_size,
        vision_tokens=(size // patch) ** 2 + 1,
        text_dim=text.hidden_size,
        text_tokens=settings.text_tokens,
        vocabulary=text.vocab_size,
        embedding_dim=text.hidden_size,
        vision_lead=1,
        vision_placed=True,
        vision_adapters=image_adapters,
        text_adapters=text_adapters,
        fusion=FusionSpec(
            layers=fusion.num_hidden_layers,
            dim=fusion.hidden_size,
            heads=fusion.num_attention_heads,
            hidden=fusion.intermediate_size,
            eps=fusion.layer_norm_eps,
        ),
    )


def assemble(
    settings: BackboneSettings,
    sizes: BackboneSpec,
    origin: Checkpoint,
    device: torch.device,
    *,
    images: Callable[[], nn.Module],
    texts: Callable[[], nn.Module],
    pixels: Pixels,
    embedding: Callable[[], Tensor],
    layers: Callable[[], Iterable[nn.Module]],
) -> Backbone:
    """Return the backbone; no weights are read before something is called.

    Parameters
    ----------
    settings, sizes, origin, device
        What was asked for, and what came of it.
    images, texts
        Return the frozen encoders in parts (:class:`~fedtap.backbones.lora.Encoder`).
    pixels
        How images are scaled.
    embedding
        Returns the word embeddings ``(vocabulary, dim)``.
    layers
        Returns the pretrained multimodal layers in order.
    """
    words = origin.vocabulary(embedding)
    if len(words) > sizes.vocabulary:
        raise UserError(
            f"backbone: the tokenizer of {origin.name} has {len(words)} tokens, its text model {sizes.vocabulary}; restore both "
            "from one checkpoint"
        )
    vision = TransformerImages(
        name=f"{origin.key} image",
        id=origin.id(f"{origin.label}-image-{settings.image_size}px", device, sizes.vision_adapters),
        dim=sizes.vision_dim,
        device=device,
        encoder=images,
        pixels=pixels,
        adapters=sizes.vision_adapters,
    )
    text = TransformerTexts(
        name=f"{origin.key} text",
        id=origin.id(f"{origin.label}-text-{settings.text_tokens}tokens", device, sizes.text_adapters),
        dim=sizes.text_dim,
        device=device,
        encoder=texts,
        vocabulary=words,
        tokens=settings.text_tokens,
        adapters=sizes.text_adapters,
    )
    return Backbone(
        sizes, vision, text, words, lambda count: [pre_norm_layer(layer) for layer in islice(layers(), count)]
    )
