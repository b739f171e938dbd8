"""Sealed safetensors files: a SHA-256 of every byte, an identity and JSON facts in the file's own metadata.

What a seal is stands in ``sealed.py``. A sealed file stays one that safetensors reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import parse
from fedtap.runtime.sealed import Identity, check_identity
from fedtap.runtime.storage import write_bytes
from fedtap.runtime.tensor_bytes import tensor_bytes

SEAL = "seal"  # the one metadata key: the order of several would differ from process to process
_BEGINNING = b'{"__metadata__":{"seal":"{\\"digest\\":\\"'
_HEX = 64
_PIECE = 1 << 20
MAX_HEADER = 64_000_000  # bytes of the description of a file's tensors, what a client remembers among it


def sealed_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], of: Identity) -> bytes:
    """Return a safetensors file of named tensors and JSON facts whose metadata hold a digest of every byte of it."""
    seal = {"digest": "0" * _HEX, "of": dict(sorted(of.items())), "facts": facts}
    data = bytearray(tensor_bytes(tensors, {SEAL: json.dumps(seal, separators=(",", ":"))}))
    start = 8 + len(_BEGINNING)
    if data[8:start] != _BEGINNING:
        raise ValueError("safetensors writes its metadata elsewhere; install the pinned version")
    data[start : start + _HEX] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def write_sealed_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], of: Identity) -> None:
    """Write :func:`sealed_tensors`, atomically."""
    write_bytes(path, sealed_tensors(tensors, facts, of))


def read_sealed_tensors(path: Path, of: Identity, mend: str) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the facts of a file that :func:`write_sealed_tensors` wrote; every byte of it is checked.

    Raises
    ------
    UserError
        If the file is missing, not whole, or of something else than ``of``.
    """
    try:
        _check_bytes(path)
        with safe_open(path, framework="pt") as file:
            seal = parse(file.metadata()[SEAL], finite=False)
            tensors = {label: file.get_tensor(label) for label in file.keys()}  # noqa: SIM118
        told, facts = dict(seal["of"]), seal["facts"]
    except FileNotFoundError as error:
        raise UserError(f"{path}: the file is missing; {mend}") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged or truncated ({error}); {mend}") from error
    check_identity(path, told, of, mend)
    return tensors, facts


def _check_bytes(path: Path) -> None:
    """Raise :class:`ValueError` unless a file's bytes, with zeros for its digest, have that digest."""
    sha = hashlib.sha256()
    if not path.is_file():  # a pipe or a device would be read without end
        raise FileNotFoundError if not path.exists() else ValueError("it is no plain file")
    with path.open("rb") as file:
        head = file.read(8 + len(_BEGINNING) + _HEX)
        if (told := int.from_bytes(head[:8], "little")) > MAX_HEADER:  # it is parsed into an object a tensor
            raise ValueError(f"its description has {told} bytes; {MAX_HEADER} at the most")
        start = 8 + len(_BEGINNING)
        if head[8:start] != _BEGINNING:
            raise ValueError("it has no seal")
        sha.update(head[:start] + b"0" * _HEX)
        while piece := file.read(_PIECE):
            sha.update(piece)
    if head[start:] != sha.hexdigest().encode():
        raise ValueError("its content does not match its digest")
