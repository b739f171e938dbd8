"""Tiny towers with seeded random weights, named `untrained`: for tests, dry runs and machines without the weights.

They have learned nothing. Random projections of patches and a random attention layer keep enough of the input for a small
network to learn from, in milliseconds and without any optional package.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.backbones.base import Features, Image, ImageTower, TextTower, scaling
from fedtap.backbones.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from fedtap.backbones.weights import load_once, tower_id
from fedtap.data.images import normalise, resize
from fedtap.runtime.randomness import torch_generator

NAME = "untrained-tiny"
DIM, BATCH = 32, 16
STRIDE, PATCH = 32, 8
MAX_TOKENS = 512
WORDS = (
    "a all an and any are as at be but by can color does film for from good has have how i in is it its movie no not of on "
    "or present shape so that the there this to was what which who with yes you "
    "black blue brown circle gray green rectangle red teal triangle yellow"
)


def _pieces() -> list[str]:
    letters = string.ascii_lowercase + string.digits
    singles = [*letters, *string.punctuation]
    words = [word for word in WORDS.split() if word not in singles]
    return [PAD, UNKNOWN, START, END, *singles, *(f"##{letter}" for letter in letters), *words]


def vision_sizes(image_size: int) -> tuple[int, int]:
    """Return (dim, tokens): one token for 32 pixels square, at least one."""
    return DIM, max(1, image_size // STRIDE) ** 2


def vision_tower(image_size: int, device: torch.device) -> ImageTower:
    """Return the tower for images of ``image_size`` pixels."""
    return TinyImageTower(image_size, device)


def text_sizes() -> tuple[int, int, int]:
    """Return (dim, vocabulary, embedding dim)."""
    return DIM, len(_pieces()), DIM


def text_tower(tokens: int, device: torch.device) -> TextTower:
    """Return the tower, for texts of at most ``tokens`` tokens."""
    return TinyTextTower(tokens, device)


def tiny_vocabulary(device: torch.device = torch.device("cpu")) -> Vocabulary:  # noqa: B008
    """Return a vocabulary of characters and some fifty words; every text in plain ASCII can be spelt in it."""
    return Vocabulary(tiny_pieces(), lambda: _text_module(device).words)


def tiny_pieces() -> Tokenizer:
    """Return that vocabulary's tokenizer."""
    pieces = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(_pieces())}, unk_token=UNKNOWN))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return pieces


class _Text(nn.Module):
    """Embeddings and one residual attention layer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch_generator(0, NAME, "text")
        self.words = nn.Parameter(torch.randn(len(_pieces()), DIM, generator=generator))
        self.places = nn.Parameter(0.3 * torch.randn(MAX_TOKENS, DIM, generator=generator))
        self.project = nn.Parameter(torch.randn(3, DIM, DIM, generator=generator) / DIM**0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = F.embedding(ids, self.words) + self.places[: ids.shape[1]]
        query, key, value = (x @ weight for weight in self.project)
        attention = (query @ key.transpose(1, 2) / DIM**0.5).masked_fill(~mask[:, None, :], -torch.inf).softmax(-1)
        return F.layer_norm(x + attention @ value, (DIM,))


class _Image(nn.Module):
    """A linear projection of patches of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 3 * PATCH * PATCH
        generator = torch_generator(0, NAME, "image")
        self.weight = nn.Parameter(torch.randn(DIM, 3, PATCH, PATCH, generator=generator) / inputs**0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.conv2d(pixels, self.weight, stride=PATCH).flatten(2).transpose(1, 2)


def _text_module(device: torch.device) -> _Text:
    return cast(_Text, load_once((f"{NAME} text", str(device)), lambda: _Text().to(device)))


class TinyImageTower(ImageTower):
    """Image to ``(image_size / 32)^2`` tokens of 32."""

    def __init__(self, image_size: int, device: torch.device) -> None:
        identity = tower_id(f"{NAME}-image-{image_size}px", device, f"batch {BATCH}")
        super().__init__(name=f"{NAME} image", id=identity, dim=DIM, batch=BATCH, device=device)
        self.side = max(1, image_size // STRIDE) * PATCH

    def load(self) -> nn.Module:
        """Make the weights."""
        return _Image()

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """A thumbnail."""
        return scaling(self.side, "bilinear", (0.5,) * 3, (0.5,) * 3)

    def prepare(self, item: Image) -> Features:
        """Return a thumbnail with 8 by 8 pixels to a token, ``(3, side, side)``."""
        return np.ascontiguousarray(normalise(resize(item, self.side)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return ``(batch, tokens, 32)``."""
        return cast(Tensor, self.module(pixels))


class TinyTextTower(TextTower):
    """Text to ``(tokens, 32)``."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        identity = tower_id(f"{NAME}-text-{tokens}tokens", device, f"batch {BATCH}", *_pieces())
        super().__init__(name=f"{NAME} text", id=identity, dim=DIM, batch=BATCH, device=device)
        self.tokens = tokens
        self.vocabulary = tiny_vocabulary(device)

    def load(self) -> nn.Module:
        """Make the weights."""
        return _Text()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return ``(batch, length, 32)``."""
        return cast(Tensor, self.module(ids, mask))
