"""Tensors as Flower arrays and back, whatever their dtype. What comes back is checked before a byte of it is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from fedtap.engines.flower.malformed import MalformedError

STYPE = "fedtap.raw"
"""How the bytes are laid out: the values alone, little-endian, last axis first. NumPy's own format has no bfloat16."""
DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "int16": torch.int16,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
}
MAX_AXES = 8


def array_of(tensor: Tensor) -> Array:
    """Return a tensor as an array with the same bits.

    Raises
    ------
    ValueError
        If its dtype is none that travels.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    if tensor.dtype not in names:
        raise ValueError(f"a tensor of {tensor.dtype} does not travel; known: {', '.join(DTYPES)}")
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return Array(names[tensor.dtype], tuple(tensor.shape), STYPE, values.numpy().tobytes())


def tensor_of(array: Array, what: str) -> Tensor:
    """Return an array as a tensor in memory of its own; ``what`` names it in errors.

    Raises
    ------
    MalformedError
        If its description and its bytes do not fit together. Nothing is allocated by what the description claims.
    """
    dtype = DTYPES.get(array.dtype) if isinstance(array.dtype, str) else None
    if dtype is None or array.stype != STYPE:
        raise MalformedError(f"{what} comes as {array.stype!r} of {array.dtype!r}, which is not agreed on")
    shape = array.shape
    if len(shape) > MAX_AXES or not all(type(size) is int and size >= 0 for size in shape):
        raise MalformedError(f"{what} has no sensible shape")
    if not isinstance(array.data, bytes) or math.prod(shape) * dtype.itemsize != len(array.data):
        raise MalformedError(f"{what} has {len(array.data)} bytes, which do not fill its shape")
    if not array.data:
        return torch.empty(tuple(shape), dtype=dtype)
    return torch.frombuffer(bytearray(array.data), dtype=dtype).reshape(tuple(shape))


def record_of(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Return named tensors as one record."""
    return ArrayRecord({name: array_of(tensor) for name, tensor in tensors.items()})


def tensors_of(record: object, what: str) -> dict[str, Tensor]:
    """Return the named tensors of a record; raises :class:`MalformedError` if it is none."""
    if not isinstance(record, ArrayRecord):
        raise MalformedError(f"{what} is no record of arrays")
    return {name: tensor_of(array, f"{what}:{name}") for name, array in record.items()}
