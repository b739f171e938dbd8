"""Named tensors as the bytes of a safetensors file. Not here: seals (``sealed.py``), and reading, which is the library's.

``safetensors.torch.save`` looks at every tensor for shared memory before it copies it, which takes several times as long as the
copying where tensors are many and small, as components are. By way of numpy the bytes are the same, and what shares memory is
copied for each name.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import numpy as by_numpy
from safetensors import torch as by_torch
from torch import Tensor

_NUMPY_HAS = frozenset({torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool})


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file; the tensors may be on any device, share memory, and be laid out in any way."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    notes = None if metadata is None else dict(metadata)
    if all(tensor.dtype in _NUMPY_HAS for tensor in ready.values()):
        return by_numpy.save({name: tensor.numpy() for name, tensor in ready.items()}, notes)
    return by_torch.save({name: tensor.clone() for name, tensor in ready.items()}, notes)
