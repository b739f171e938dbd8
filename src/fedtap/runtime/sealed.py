"""Files that say whether they are whole, and whose they are: a SHA-256 and an identity in the file itself.

A seal finds damage and mix-ups: a flipped bit, a file of another client, run or round. It is no signature: whoever may write the
folder can seal what they like. A sealed safetensors file stays one that safetensors reads, a sealed JSON file stays JSON. Not
here: files whose form is fixed from outside (``manifest.py`` holds their digests).
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
from fedtap.runtime.plain_json import MAX_BYTES, parse
from fedtap.runtime.storage import read_json, write_bytes, write_json
from fedtap.runtime.tensor_bytes import tensor_bytes

Identity = Mapping[str, "str | int"]
"""What a file is, and whose: ``what``, and as it applies ``run``, ``client``, ``model``, ``round``."""
SEAL = "seal"  # the one metadata key: the order of several would differ from process to process
_BEGINNING = b'{"__metadata__":{"seal":"{\\"digest\\":\\"'
_HEX = 64
_PIECE = 1 << 20
MAX_HEADER = 64_000_000  # bytes of the description of a file's tensors, what a client remembers among it


def sealed_json(value: Mapping[str, Any], of: Identity) -> dict[str, Any]:
    """Return a JSON object with its identity (``of``) and, over all of that, its ``digest``."""
    told = {**value, "of": dict(of)}
    return {**told, "digest": _json_digest(told)}


def write_sealed_json(path: Path, value: Mapping[str, Any], of: Identity) -> None:
    """Write a JSON object with its seal, atomically."""
    write_json(path, sealed_json(value, of))


def read_sealed_json(
    path: Path, of: Identity, mend: str = "restore it from a copy", most: int = MAX_BYTES
) -> dict[str, Any]:
    """Return the object in a sealed JSON file, without its seal.

    Parameters
    ----------
    path
        The file.
    of
        What it must say of itself; what the file says beyond that is passed over.
    mend
        What to do if it is not whole, or of something else.
    most
        The most bytes that it may have.

    Raises
    ------
    UserError
        If the file is missing, longer, not JSON, not whole, or of something else.
    """
    found = read_json(path, most)
    told = {key: value for key, value in found.items() if key != "digest"} if isinstance(found, dict) else None
    if told is None or not isinstance(found.get("digest"), str) or not isinstance(told.get("of"), dict):
        raise UserError(f"{path}: damaged (it has no seal); {mend}")
    if found["digest"] != _json_digest(told):
        raise UserError(f"{path}: damaged (its content does not match its digest); {mend}")
    _check_identity(path, told.pop("of"), of, mend)
    return told


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
    _check_identity(path, told, of, mend)
    return tensors, facts


def sha256_of(path: Path, length: int | None = None) -> str:
    """Return the hex SHA-256 of a file's first ``length`` bytes, by default of all, without holding them in memory."""
    sha = hashlib.sha256()
    left = path.stat().st_size if length is None else length
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(_PIECE, left))):
            sha.update(piece)
            left -= len(piece)
    return sha.hexdigest()


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


def _json_digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check_identity(path: Path, told: Mapping[str, Any], wanted: Identity, mend: str) -> None:
    for key, value in wanted.items():
        if told.get(key) != value:
            raise UserError(f"{path}: is of {key} '{told.get(key)}', not of {key} '{value}'; {mend}")
