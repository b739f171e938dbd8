"""What models of both sides have in common: sizes of their configurations, and two towers, beside fusion layers if they have any.

Such a model is one checkpoint: FLAVA and ViLT with multimodal layers, CLIP and SigLIP (``pairs.py``) without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from fedtap.backbones.base import Backbone, BackboneSpec, FusionSpec
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.layers import pre_norm_layer
from fedtap.backbones.lora import Adapters
from fedtap.backbones.transformer_towers import Pixels, check_length, images_of, patches, texts_of
from fedtap.scenario.scenario import BackboneSettings


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
    count = patches(settings, settings.name, int(image.patch_size))
    check_length(settings, settings.name, int(text.max_position_embeddings))
    return BackboneSpec(
        name=origin.name,
        vision_dim=image.hidden_size,
        vision_tokens=count + 1,
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
    layers: Callable[[], Iterable[nn.Module]] | None = None,
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
        Returns the pretrained multimodal layers in order, where there are any.
    """
    vision = images_of(
        origin, settings, device, dim=sizes.vision_dim, encoder=images, pixels=pixels, adapters=sizes.vision_adapters
    )
    text = texts_of(
        origin,
        settings,
        device,
        dim=sizes.text_dim,
        encoder=texts,
        embedding=embedding,
        words=sizes.vocabulary,
        adapters=sizes.text_adapters,
    )

    def fusion(count: int) -> Sequence[Mapping[str, Tensor]]:
        assert layers is not None
        return [pre_norm_layer(layer) for layer in islice(layers(), count)]

    return Backbone(sizes, vision, text, text.vocabulary, None if layers is None else fusion)
