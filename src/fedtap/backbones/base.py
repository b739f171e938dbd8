"""What a backbone is: two frozen towers and a vocabulary; and the registry of backbones by name.

A tower turns one item into a token sequence. Which items are encoded together never changes a feature: batches have fixed
shapes (see :mod:`fedtap.backbones.batches`), so that results cannot depend on what a cache already holds.
"""

from __future__ import annotations

import copy
import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtap.backbones.batches import bucket_length, run_fixed_batches
from fedtap.backbones.lora import AdaptedLayers, Adapters
from fedtap.backbones.vocabulary import Vocabulary
from fedtap.backbones.weights import load_once
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import BackboneSettings

Item = TypeVar("Item")
Image = NDArray[np.uint8]
Features = NDArray[np.float32]

# A new backbone is one file with the functions `spec` and `build`, and one line here.
REGISTRY: dict[str, str] = {
    "towers": "fedtap.backbones.towers",
    "clip": "fedtap.backbones.pairs",
    "flava": "fedtap.backbones.flava",
    "siglip": "fedtap.backbones.pairs",
    "vilt": "fedtap.backbones.vilt",
}


@dataclass(frozen=True, slots=True)
class FusionSpec:
    """The sizes of pretrained fusion layers: how many, width, attention heads, width of the feed-forward, epsilon of the norm."""

    layers: int
    dim: int
    heads: int
    hidden: int
    eps: float


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """The sizes of a backbone, known without its weights.

    Parameters
    ----------
    name
        The backbone and its towers, as shown to the user; says ``untrained`` where a tower is.
    vision_dim, vision_tokens
        Width and number of an image's tokens.
    text_dim, text_tokens
        Width and greatest number of a text's tokens, with its start and end tokens.
    vocabulary, embedding_dim
        Number and width of the frozen word embeddings.
    vision_lead
        How many of an image's tokens come before those of its grid (a transformer's classification token).
    vision_placed
        Whether an image's tokens know their places already, as a transformer's do and a convolution's do not.
    vision_adapters, text_adapters
        The low-rank adapters of the towers, where they are adapted; the features are then those before the first of them.
    fusion
        The pretrained fusion layers, or None where the fusion starts anew.
    """

    name: str
    vision_dim: int
    vision_tokens: int
    text_dim: int
    text_tokens: int
    vocabulary: int
    embedding_dim: int
    vision_lead: int = 0
    vision_placed: bool = False
    vision_adapters: Adapters | None = None
    text_adapters: Adapters | None = None
    fusion: FusionSpec | None = None


class Tower(ABC, Generic[Item]):
    """A frozen encoder. Its weights are read when the first item is encoded, not before.

    Parameters
    ----------
    name
        The tower's name in the settings; towers of one name share their weights.
    id
        Names the weights by checksum, the preprocessing, the device and the numerical library: two towers whose features
        could differ in one bit have different ids. It is a plain file name.
    dim
        Width of a token.
    batch
        Rows of every forward pass.
    device
        Where it runs.
    """

    def __init__(self, *, name: str, id: str, dim: int, batch: int, device: torch.device) -> None:
        self.name, self.id, self.dim, self.batch, self.device = name, id, dim, batch, device

    @property
    def chunk(self) -> int:
        """How many items to hand to :meth:`encode` at once: enough to fill batches, few enough to hold in memory."""
        return 16 * self.batch

    def one_by_one(self) -> Tower[Item]:
        """Return the same tower with a pass for each item: quicker for a single one.

        Another shape may take another kernel, whose sums round otherwise. So its features may differ in their last bits from
        those that this tower makes, and must not be taken for them: it has an id of its own.
        """
        alone = copy.copy(self)
        alone.batch, alone.id = 1, f"{self.id}-alone"
        return alone

    @property
    def module(self) -> nn.Module:
        """The frozen network, shared by every tower of this name on this device."""
        return load_once((self.name, str(self.device)), lambda: self.load().to(self.device))

    @abstractmethod
    def load(self) -> nn.Module:
        """Read the weights; raises UserError if they are not those that ``id`` names."""

    @abstractmethod
    def encode(self, items: Iterable[Item]) -> list[Features]:
        """Return, for each item, its features ``(tokens, dim)``. Items are consumed one by one."""

    @property
    def raw(self) -> bool:
        """Whether items reach the network as :meth:`prepare` gives them: nothing worth storing lies before what is trained."""
        return False

    @abstractmethod
    def prepare(self, item: Item) -> NDArray[Any]:
        """Return an item as the tower takes it: pixels ``(3, size, size)`` float32, or token ids ``(tokens,)`` int64."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What :meth:`prepare` does, as plain values, for those who do without fedtap; none where nobody wrote it down."""
        return {}

    def adapted(self) -> AdaptedLayers | None:
        """Return the part that runs at every step, with room for adapters, for one network; None where nothing is adapted."""
        return None


def scaling(size: int, resample: str, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Return the ``preprocessing`` of images that are resized to ``size`` pixels a side, and then ``(x / 255 - mean) / std``."""
    return {"size": size, "resample": resample, "mean": list(mean), "std": list(std)}


class ImageTower(Tower[Image]):
    """A tower over images, ``(H, W, 3)`` uint8 of any size."""

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """Return the tokens ``(batch, tokens, dim)`` of prepared images ``(batch, 3, size, size)``, rows of the grid first."""

    def encode(self, items: Iterable[Image]) -> list[Features]:
        """Return, for each image, its features ``(tokens, dim)``."""
        prepared = [torch.from_numpy(self.prepare(image)) for image in items]
        batches = [
            range(start, min(start + self.batch, len(prepared))) for start in range(0, len(prepared), self.batch)
        ]

        def run(rows: list[int]) -> Tensor:
            return self.forward(torch.stack([prepared[row] for row in rows]).to(self.device))

        encoded: list[Features] = [np.empty(0, np.float32)] * len(prepared)
        for row, tokens in run_fixed_batches(batches, run, rows=self.batch, device=self.device):
            encoded[row] = tokens
        return encoded


class TextTower(Tower[str]):
    """A tower over texts; ``tokens`` bounds a text's tokens, with start and end token."""

    tokens: int
    vocabulary: Vocabulary

    @property
    def chunk(self) -> int:
        """As for any tower, and more, since texts are small and are sorted by length into batches."""
        return 32 * self.batch

    def prepare(self, item: str) -> NDArray[np.int64]:
        """Return the ids of a text's tokens, start token, if there is one, and end token among them."""
        opening = self.vocabulary.opening
        return np.array([*opening, *self.vocabulary.encode(item, self.tokens - len(opening))], dtype=np.int64)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How many tokens a text has at the most, start and end among them, which these are, and a digest of the vocabulary."""
        words = self.vocabulary
        start = next(iter(words.opening), None)
        special = {"start_id": start, "end_id": words.end_id, "pad_id": words.pad_id}
        return {
            "tokens": self.tokens,
            **special,
            "vocabulary": len(words),
            "tokenizer_sha256": digest(words.tokenizer()),
        }

    @abstractmethod
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states ``(batch, length, dim)`` of token ids ``(batch, length)``.

        ``mask`` is True at real tokens; padding must not change the hidden states of real tokens.
        """

    def encode(self, items: Iterable[str]) -> list[Features]:
        """Return, for each text, the features of its real tokens ``(tokens, dim)``, start and end token among them."""
        vocabulary = self.vocabulary
        ids = [self.prepare(text) for text in items]
        buckets: dict[int, list[int]] = {}
        for row, tokens in enumerate(ids):
            buckets.setdefault(bucket_length(len(tokens), self.tokens), []).append(row)
        batches = [
            rows[start : start + self.batch]
            for _, rows in sorted(buckets.items())
            for start in range(0, len(rows), self.batch)
        ]

        def run(rows: list[int]) -> Tensor:
            padded = torch.full((len(rows), bucket_length(len(ids[rows[0]]), self.tokens)), vocabulary.pad_id)
            mask = torch.zeros(padded.shape, dtype=torch.bool)
            for place, row in enumerate(rows):
                padded[place, : len(ids[row])] = torch.from_numpy(ids[row])
                mask[place, : len(ids[row])] = True
            return self.forward(padded.to(self.device), mask.to(self.device))

        encoded: list[Features] = [np.empty(0, np.float32)] * len(ids)
        for row, states in run_fixed_batches(batches, run, rows=self.batch, device=self.device):
            encoded[row] = states[: len(ids[row])].copy()
        return encoded


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen foundation model as the rest of the software sees it."""

    spec: BackboneSpec
    vision: ImageTower
    text: TextTower
    vocabulary: Vocabulary
    fusion: Callable[[int], Sequence[Mapping[str, Tensor]]] | None = None
    """Returns the first so many pretrained fusion layers in canonical form, where there are any."""


class BackboneModule(Protocol):
    """What a backbone's file offers."""

    def spec(self, settings: BackboneSettings) -> BackboneSpec:
        """Return the sizes; needs no weights and no optional package."""

    def check(self, settings: BackboneSettings) -> None:
        """Check without reading weights that the files in its folders are there."""

    def build(self, settings: BackboneSettings, device: torch.device) -> Backbone:
        """Return the backbone; weights may be read later."""


_built: dict[tuple[BackboneSettings, str], Backbone] = {}
_lock = threading.Lock()


def _find(name: str) -> BackboneModule:
    if name not in REGISTRY:
        raise UserError(f"backbone.name: unknown backbone '{name}'; {nearest(name, REGISTRY)}")
    return cast(BackboneModule, importlib.import_module(REGISTRY[name]))


def spec(settings: BackboneSettings) -> BackboneSpec:
    """Return a backbone's sizes, without weights and without optional packages.

    Raises
    ------
    UserError
        If the settings name an unknown backbone or tower, or a size that a tower cannot take.

    Examples
    --------
    >>> sizes = spec(BackboneSettings())
    >>> sizes.vision_tokens, sizes.vision_dim, sizes.text_dim
    (9, 1280, 384)
    """
    return _find(settings.name).spec(settings)


def check_files(settings: BackboneSettings) -> None:
    """Check that the folders of a backbone hold what it needs: weights, tokenizer, how pixels are taken. No weights are read.

    Raises
    ------
    UserError
        If something is missing, or cannot be used. Of a model of the hub nothing is fetched but its configuration.
    """
    _find(settings.name).check(settings)


def load_backbone(settings: BackboneSettings, device: str | torch.device = "cpu") -> Backbone:
    """Return the backbone, the same object for the same settings and device within a process.

    Raises
    ------
    UserError
        As :func:`spec`; also if a package that holds weights is not installed.
    """
    place = torch.device(device)
    with _lock:
        key = (settings, str(place))
        if key not in _built:
            _built[key] = _find(settings.name).build(settings, place)
        return _built[key]
