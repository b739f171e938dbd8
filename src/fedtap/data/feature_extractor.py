"""What data ask of a foundation model: features of pictures and texts, and token ids. Not here: the models (backbones)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", contravariant=True)
Features = NDArray[np.float32]


class FeatureExtractor(Protocol[Item]):
    """A frozen encoder of one kind of item; what it gives depends on the item alone, not on what is encoded with it."""

    @property
    def id(self) -> str:
        """A plain file name; two extractors whose features could differ in one bit have different ones."""

    @property
    def dim(self) -> int:
        """Width of a token."""

    @property
    def chunk(self) -> int:
        """How many items to hand to :meth:`encode` at once."""

    @property
    def raw(self) -> bool:
        """Whether items reach the network as :meth:`prepare` gives them: nothing worth storing lies before what is trained."""

    def encode(self, items: Iterable[Item]) -> Sequence[Features]:
        """Return, for each item, its features ``(tokens, dim)``. Items are consumed one by one."""

    def prepare(self, item: Item) -> NDArray[Any]:
        """Return an item as the network takes it: pixels ``(3, size, size)`` float32, or token ids ``(tokens,)`` int64."""


class Tokenizer(Protocol):
    """Cuts texts into the tokens that a model writes."""

    def encode(self, text: str, limit: int) -> list[int]:
        """Return a text's token ids, with the end token, at most ``limit`` of them."""

    def lost(self, text: str, limit: int) -> tuple[bool, bool]:
        """Tell whether these token ids cut a text short, and whether it has words that the model does not know."""


class FoundationModel(Protocol):
    """Two extractors and a tokenizer."""

    @property
    def vision(self) -> FeatureExtractor[NDArray[np.uint8]]:
        """The extractor of pictures ``(height, width, 3)``."""

    @property
    def text(self) -> FeatureExtractor[str]:
        """The extractor of texts."""

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokens of answers."""
