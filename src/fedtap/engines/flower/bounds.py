"""How much an answer may hold, by what was asked: known before a byte of it is parsed. Not here: what it may say (federation)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fedtap.components import ComponentKey
from fedtap.federation.messages import Kind, Request
from fedtap.federation.validation import MAX_VECTOR, MAX_VECTORS
from fedtap.federation.words import MAX_TEXT

MAX_AXES = 8
WIDEST = 8  # bytes of a scalar of the widest dtype that travels: masked values are int64
ENTRY = 64 + 21 * (
    MAX_AXES + 2
)  # of a description, for a tensor beside its name: its axes and two places, of 20 digits each
ESCAPED = 6  # characters that one of a name may need in JSON


@dataclass(frozen=True, slots=True)
class Room:
    """The most bytes of a record of tensors: of its description, and of its values (None: no limit but the message's)."""

    header: int
    values: int | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Room:
        """Return the room that tensors of these names and shapes need, whatever their dtypes."""
        names = sum(len(json.dumps(name)) for name in tensors)
        return cls(ENTRY * (len(tensors) + 1) + names, WIDEST * sum(tensor.numel() for tensor in tensors.values()))


VECTOR_ROOM = Room((ENTRY + ESCAPED * MAX_TEXT) * (MAX_VECTORS + 1), WIDEST * MAX_VECTORS * MAX_VECTOR)
"""For the named vectors beside an update, of which nothing is asked but that they be few and small."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer may hold: its kind, and the room of each component that was sent, for no others may come back."""

    kind: Kind
    rooms: Mapping[ComponentKey, Room]

    @classmethod
    def by(cls, request: Request) -> Asked:
        """Return what the answer to a request may hold."""
        return cls(request.kind, {key: Room.of(named) for key, named in request.components.items()})
