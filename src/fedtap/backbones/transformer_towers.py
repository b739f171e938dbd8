"""Towers over transformer encoders: frozen altogether, or adapted from some layer on, with what lies before computed once.

A tower's features are its encoder's last hidden states, or those before the first adapted layer. Where every layer is adapted,
nothing worth storing is left: pixels and token ids then reach the network as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from fedtap.backbones.base import Features, Image, ImageTower, TextTower, scaling
from fedtap.backbones.checkpoints import Checkpoint
from fedtap.backbones.lora import AdaptedLayers, Adapters, Encoder
from fedtap.backbones.vocabulary import Vocabulary
from fedtap.data.images import resize
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import BackboneSettings

IMAGES, TEXTS = 8, 8
"""Rows of a forward pass that fills the cache."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a model takes its pixels: ``(x / 255 - mean) / deviation`` after resizing to ``size`` pixels a side.

    ``mean`` and ``deviation`` are per channel; ``resample`` is Pillow's.
    """

    size: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    resample: Pillow.Resampling = Pillow.Resampling.BICUBIC

    def __call__(self, image: Image) -> Features:
        """Return ``(3, size, size)`` float32 of an image ``(H, W, 3)`` uint8."""
        pixels = resize(image, self.size, self.resample).astype(np.float32) / np.float32(255)
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class _Adaptable:
    """What both kinds of tower have in common; ``module`` is an :class:`~fedtap.backbones.lora.Encoder`."""

    module: nn.Module
    _adapters: Adapters | None

    @property
    def raw(self) -> bool:
        """Whether even the first layer is adapted."""
        return self._adapters is not None and self._adapters.raw

    def adapted(self) -> AdaptedLayers | None:
        """Return the adapted layers, for one network."""
        return None if self._adapters is None else AdaptedLayers(self.module, self._adapters)

    def _features(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Return the last hidden states, or those before the first adapted layer."""
        encoder = cast(Encoder, self.module)
        if self._adapters is None:
            return encoder.close(encoder.run(encoder.embed(inputs), mask))
        return encoder.run(encoder.embed(inputs), mask, stop=self._adapters.first)


class TransformerImages(_Adaptable, ImageTower):
    """A vision transformer: image to its tokens, the classification token first where it has one.

    Parameters
    ----------
    name, id, dim, device
        As for :class:`~fedtap.backbones.base.Tower`.
    encoder
        Reads or makes the frozen encoder, which is an :class:`~fedtap.backbones.lora.Encoder`.
    pixels
        How it takes its pixels.
    adapters
        Its adapters, or None.
    """

    def __init__(
        self,
        *,
        name: str,
        id: str,
        dim: int,
        device: torch.device,
        encoder: Callable[[], nn.Module],
        pixels: Pixels,
        adapters: Adapters | None,
    ) -> None:
        super().__init__(name=name, id=id, dim=dim, batch=IMAGES, device=device)
        self._load, self._pixels, self._adapters = encoder, pixels, adapters

    def load(self) -> nn.Module:
        """Read or make the encoder."""
        return self._load()

    def prepare(self, item: Image) -> Features:
        """Return the pixels as the encoder takes them."""
        return self._pixels(item)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Scaled as the model takes its pixels."""
        pixels = self._pixels
        return scaling(pixels.size, pixels.resample.name.lower(), pixels.mean, pixels.deviation)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return ``(batch, tokens, dim)``."""
        return self._features(pixels, None)


class TransformerTexts(_Adaptable, TextTower):
    """A text transformer: text to its tokens; parameters as for :class:`TransformerImages`, and the bound of a text's tokens."""

    def __init__(
        self,
        *,
        name: str,
        id: str,
        dim: int,
        device: torch.device,
        encoder: Callable[[], nn.Module],
        vocabulary: Vocabulary,
        tokens: int,
        adapters: Adapters | None,
    ) -> None:
        super().__init__(name=name, id=id, dim=dim, batch=TEXTS, device=device)
        self._load, self.vocabulary, self.tokens, self._adapters = encoder, vocabulary, tokens, adapters

    def load(self) -> nn.Module:
        """Read or make the encoder."""
        return self._load()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return ``(batch, length, dim)``."""
        return self._features(ids, mask)


def patches(settings: BackboneSettings, model: str, patch: int, *, smallest: int = 0) -> int:
    """Return how many patches an image of the settings' size has.

    Raises
    ------
    UserError
        If it is not a whole number of patches a side, or smaller than ``smallest``; ``model`` names who cuts it.
    """
    size = settings.image_size
    if size < smallest:
        raise UserError(
            f"backbone.image_size: {model} takes no images below {smallest} pixels, not {size}; give {smallest}"
        )
    if size % patch:
        near = max(patch, round(size / patch) * patch)
        raise UserError(
            f"backbone.image_size: {model} cuts images into patches of {patch} pixels; give {near}, not {size}"
        )
    return int((size // patch) ** 2)


def check_length(settings: BackboneSettings, model: str, most: int | None) -> None:
    """Raise UserError if texts may have more tokens than a model has positions; None is no limit."""
    if most is not None and settings.text_tokens > most:
        raise UserError(
            f"backbone.text_tokens: {model} takes at most {most} tokens, not {settings.text_tokens}; give {most}"
        )


def images_of(
    origin: Checkpoint,
    settings: BackboneSettings,
    device: torch.device,
    *,
    dim: int,
    encoder: Callable[[], nn.Module],
    pixels: Pixels,
    adapters: Adapters | None,
) -> TransformerImages:
    """Return the vision tower of a checkpoint, for images of the settings' size."""
    return TransformerImages(
        name=f"{origin.key} image",
        id=origin.id(f"{origin.label}-image-{settings.image_size}px", device, adapters),
        dim=dim,
        device=device,
        encoder=encoder,
        pixels=pixels,
        adapters=adapters,
    )


def texts_of(
    origin: Checkpoint,
    settings: BackboneSettings,
    device: torch.device,
    *,
    dim: int,
    encoder: Callable[[], nn.Module],
    embedding: Callable[[], Tensor],
    words: int,
    adapters: Adapters | None,
) -> TransformerTexts:
    """Return the text tower of a checkpoint with its vocabulary, for texts of the settings' length.

    Raises
    ------
    UserError
        If the tokenizer has more tokens than the model has embeddings, of which there are ``words``.
    """
    vocabulary = origin.fitting(origin.vocabulary(embedding), words)
    return TransformerTexts(
        name=f"{origin.key} text",
        id=origin.id(f"{origin.label}-text-{settings.text_tokens}tokens", device, adapters),
        dim=dim,
        device=device,
        encoder=encoder,
        vocabulary=vocabulary,
        tokens=settings.text_tokens,
        adapters=adapters,
    )
