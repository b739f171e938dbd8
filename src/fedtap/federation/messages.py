"""What the server and the clients say to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fedtap.algorithms.base import Update
from fedtap.components import ComponentState
from fedtap.pairs import Pair

Kind = Literal["train", "personalise", "evaluate", "keys", "shares", "unmask"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SECRETS: tuple[Kind, ...] = ("keys", "shares", "unmask")
"""What is asked for secure aggregation alone; see :mod:`fedtap.federation.secure.server`."""


@dataclass(frozen=True, slots=True)
class ClientCard:
    """What a client registers with: its pairs and, per task, its number of training examples."""

    id: str
    pairs: tuple[Pair, ...]
    examples: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Request:
    """The server asks a client to train for a round, or, after the last, to make its personal model, or to test its models.

    ``secure`` are its words on secure aggregation, if there is any.
    """

    client: str
    round: int
    kind: Kind
    components: ComponentState
    secure: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A client's answer. ``update`` is empty for ``personalise``: what is personal stays.

    ``validation`` is what its models score on its validation data, rows as those of results.json, in the rounds in which a run
    that is all on one user's machines asks for it; no message of Flower's has a place for it.
    """

    client: str
    round: int
    update: Update
    seconds: float
    steps: int
    secure: str = ""
    validation: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class EvaluateReply:
    """A client's answer to ``evaluate``: rows for results.json, from its own test data."""

    client: str
    round: int
    rows: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A client that gave no answer, and why, in one line."""

    client: str
    round: int
    why: str
