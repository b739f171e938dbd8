"""Named tensors as one Flower record and back, whatever their dtypes. What comes back is checked before it is looked at.

A record holds one array: its bytes are a safetensors file. Flower sends every array as an object of its own, each over four
connections and by several requests, so that a network's hundreds of tensors would take longer on the way than in training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from fedtap.engines.flower.bounds import MAX_AXES, Room
from fedtap.engines.flower.malformed import MalformedError
from fedtap.engines.frames import packed

STYPE = "safetensors"
"""How the array's bytes are laid out. Flower's own layout is NumPy's, which has no bfloat16."""
ONLY = "tensors"
"""The name of the array in its record."""
DTYPES = frozenset(
    {
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int8,
        torch.int16,
        torch.uint8,
        torch.int32,
        torch.int64,
    }
)
UNASKED = Room(1_000_000)
"""Where nobody knows what to expect, as a node does not of its server: a component of some thousand tensors of 150 bytes each."""


def record_of(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Return named tensors as one record, bit by bit.

    Raises
    ------
    ValueError
        If the dtype of one is none that travels.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"{name}: a tensor of {tensor.dtype} does not travel; known: {', '.join(map(str, DTYPES))}"
            )
    data = packed(tensors)
    return ArrayRecord({ONLY: Array("uint8", (len(data),), STYPE, data)})


def tensors_of(record: object, what: str, room: Room = UNASKED) -> dict[str, Tensor]:
    """Return the named tensors of a record, in memory of their own.

    Parameters
    ----------
    record
        As it came.
    what
        Names it in errors.
    room
        How much it may hold, by what was asked.

    Raises
    ------
    MalformedError
        If it is no such record, or its description and its bytes do not fit together. Nothing is allocated by what the
        description claims: safetensors holds it against the length of the bytes first.
    """
    if not isinstance(record, ArrayRecord) or list(record) != [ONLY]:
        raise MalformedError(f"{what} is no record of tensors")
    array = record[ONLY]
    if array.stype != STYPE or array.dtype != "uint8":
        raise MalformedError(f"{what} comes as {array.stype!r} of {array.dtype!r}, which is not agreed on")
    if not isinstance(array.data, bytes) or array.shape != (len(array.data),):
        raise MalformedError(f"{what} has another length than it says")
    # The description is parsed into an object a tensor, so its length is looked at first.
    header = described(record)
    if header > room.header:
        raise MalformedError(f"{what} has a description of {header} bytes; {room.header} at the most")
    if room.values is not None and len(array.data) > 8 + room.header + room.values:
        raise MalformedError(f"{what} comes in {len(array.data)} bytes; {8 + room.header + room.values} at the most")
    try:
        found = load(array.data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise MalformedError(f"{what} is not what safetensors writes ({' '.join(str(error).split())[:200]})") from error
    for name, tensor in found.items():
        if tensor.dtype not in DTYPES:
            raise MalformedError(f"{what}:{name} is of {tensor.dtype}, which does not travel")
        if tensor.dim() > MAX_AXES:
            raise MalformedError(f"{what}:{name} has {tensor.dim()} axes; {MAX_AXES} at the most")
    return found


def described(record: object) -> int:
    """Return how many bytes a record's description has, by its own word."""
    return int.from_bytes(record[ONLY].data[:8], "little") if isinstance(record, ArrayRecord) else 0
