"""Files that say whether they are whole, and whose they are: a SHA-256 and an identity in the file itself.

A seal finds damage and mix-ups: a flipped bit, a file of another client, run or round. It is no signature: whoever may write the
folder can seal what they like. A sealed JSON file stays JSON. Not here: tensors (``sealed_tensors.py``), and files whose form is
fixed from outside (``manifest.py`` holds their digests).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import MAX_BYTES
from fedtap.runtime.storage import json_bytes, read_json, write_bytes

Identity = Mapping[str, "str | int"]
"""What a file is, and whose: ``what``, and as it applies ``run``, ``client``, ``model``, ``round``."""
_PIECE = 1 << 20


def sealed_json(value: Mapping[str, Any], of: Identity) -> dict[str, Any]:
    """Return a JSON object with its identity (``of``) and, over all of that, its ``digest``."""
    told = {**value, "of": dict(of)}
    return {**told, "digest": _json_digest(told)}


def write_sealed_json(
    path: Path, value: Mapping[str, Any], of: Identity, *, durable: bool = True, compact: bool = False
) -> None:
    """Write a JSON object with its seal, atomically.

    ``durable`` is that of :func:`fedtap.runtime.storage.write_bytes`, ``compact`` that of ``json_bytes`` there.
    """
    write_bytes(path, json_bytes(sealed_json(value, of), compact=compact), durable=durable)


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
    check_identity(path, told.pop("of"), of, mend)
    return told


def sha256_of(path: Path, length: int | None = None) -> str:
    """Return the hex SHA-256 of a file's first ``length`` bytes, by default of all, without holding them in memory."""
    sha = hashlib.sha256()
    left = path.stat().st_size if length is None else length
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(_PIECE, left))):
            sha.update(piece)
            left -= len(piece)
    return sha.hexdigest()


def _json_digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_identity(path: Path, told: Mapping[str, Any], wanted: Identity, mend: str) -> None:
    """Raise :class:`UserError` unless what a file says of itself is what it must be."""
    for key, value in wanted.items():
        if told.get(key) != value:
            raise UserError(f"{path}: is of {key} '{told.get(key)}', not of {key} '{value}'; {mend}")
