"""digests.json: the digests of files in a folder whose form is fixed, so that they cannot hold their own.

These are results.json, which must be the same bytes for equal runs, cost.json and events.jsonl, which others read. Written before
the file that says that a run is finished, it tells ever after whether they are what that run left.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json, sha256_of, write_sealed_json
from fedtap.runtime.storage import read_json

FILE = "digests.json"
MAX_FILE = 2_000_000_000  # bytes: a longer one, or a pipe, would be read for ever
RECORD = "run.json"
_MEND = "restore the run's folder from a copy, or make the run anew with another --out"


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "run": str,
    "method": str,
    "deployed": str,
    "kind": str,
    "seed": int,
    "config": dict,
    "environment": dict,
    "data": (dict, NoneType),
    "code": (str, dict, NoneType),
}
"""What stands in run.json that is read back. A seal does not say who wrote it."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return what run.json says of a run; raises :class:`UserError` if it is not whole, or not what a run writes."""
    found = read_sealed_json(folder / RECORD, {"what": "run"})
    for key, kind in _KINDS.items():
        if not isinstance(found.get(key), kind):
            raise UserError(f"{folder / RECORD}: '{key}' is missing, or not what a run writes; {_MEND}")
    return found


def write_manifest(folder: Path, run: str, coming: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    """Write down the digests of files that are about to be written (``coming``, with what will be in them) and of others."""
    found = {name: hashlib.sha256(content).hexdigest() for name, content in coming.items()}
    write_sealed_json(folder / FILE, {"files": {**found, **digests}}, {"what": "digests", "run": run})


def check_files(folder: Path, run: str) -> None:
    """Check that the files of a finished run are those that it left.

    Raises
    ------
    UserError
        If one of them, or the list of their digests, is missing, changed, or of another run.
    """
    for name, digest in sorted(_listed(folder, run).items()):
        _check(folder / name, digest)


def read_listed(folder: Path, run: str, name: str) -> Any:
    """Return what a JSON file of a finished run holds; raises :class:`UserError` if it is not what the run left."""
    value = read_json(folder / name)
    digest = _listed(folder, run).get(name)
    if digest is None:
        raise UserError(f"{folder / FILE}: has no digest of {name}; {_MEND}")
    _check(folder / name, digest)
    return value


def _listed(folder: Path, run: str) -> dict[str, str]:
    path = folder / FILE
    if not path.exists():
        raise UserError(f"{path}: missing, so nobody knows whether the results are whole; {_MEND}")
    files = read_sealed_json(path, {"what": "digests", "run": run}, _MEND).get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise UserError(f"{path}: 'files' must be digests by name; {_MEND}")
    return files


def _check(path: Path, digest: str) -> None:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_FILE:
            raise UserError(f"{path}: is no plain file of {MAX_FILE} bytes at the most; {_MEND}")
        found = sha256_of(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: the file is missing; {_MEND}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend that, or {_MEND}") from error
    if found != digest:
        raise UserError(f"{path}: was changed after the run had ended (its digest is another); {_MEND}")
