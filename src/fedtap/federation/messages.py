"""What the server and the clients say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedtap.algorithms.base import Update
from fedtap.components import ComponentState
from fedtap.pairs import Pair


@dataclass(frozen=True, slots=True)
class ClientCard:
    """What a client registers with: its pairs and, per task, its number of training examples."""

    id: str
    pairs: tuple[Pair, ...]
    examples: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Request:
    """The server asks a client to train for a round, or, after the last, to make its personal model."""

    client: str
    round: int
    kind: Literal["train", "personalise"]
    components: ComponentState


@dataclass(frozen=True, slots=True)
class Reply:
    """A client's answer. ``update`` is empty for ``personalise``: what is personal stays.."""

    client: str
    round: int
    update: Update
    seconds: float
    steps: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A client that gave no answer, and why, in one line."""

    client: str
    round: int
    why: str
