"""The feature cache: each example goes through a frozen tower once per machine, not once per step. Not a data loader.

Features lie in shards, ``<folder>/<tower id>/shard-<digest>.npy`` (all tokens of all items, ``(tokens, dim)`` float16), each
beside a ``.json`` index. Data are written before their index and both by renaming, so that any number of processes may build
the same cache: none sees half a shard, and the worst that can happen is work done twice. The index has a digest of each item,
which says of which tower and which item it is: what does not match is said, removed and made again, and never used.
"""

from __future__ import annotations

import io
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedtap.data.feature_extractor import FeatureExtractor
from fedtap.data.mapped import let_go, map_halves
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.home import expanded, give_home
from fedtap.runtime.storage import digest, scrap_of, write_bytes

Item = TypeVar("Item")
Half = NDArray[np.float16]
Progress = Callable[[int, int], None]
Note = Callable[[str], None]

SHARD_BYTES = 32 * 2**20
_SCHEMA = 2
_OLD = 1  # had no digests; its items are encoded anew
_STALE = 3600.0  # seconds after which a temporary file is of a process that was killed


def default_folder() -> Path:
    """Return the cache's folder: the environment variable ``FEDTAP_CACHE``, or ``~/.cache/fedtap/features``."""
    given = os.environ.get("FEDTAP_CACHE")
    return expanded(given) if given else give_home() / ".cache" / "fedtap" / "features"


class RawInputs(Generic[Item]):
    """The inputs of a tower that is trained from its first layer on: nothing is stored, an item is prepared when it is needed.

    It is used as a :class:`FeatureCache` is.
    """

    def __init__(self, tower: FeatureExtractor[Item]) -> None:
        self._tower = tower

    def get(
        self, items: Sequence[tuple[str, Callable[[], Item]]], progress: Progress | None = None
    ) -> Sequence[NDArray[Any]]:
        """Return a sequence that reads and prepares an item each time it is indexed."""
        return _Prepared(self._tower, [load for _, load in items])

    def release(self) -> None:
        """Do nothing: nothing is held."""


class _Prepared(Sequence[NDArray[Any]]):
    """Prepared items, none of which is kept."""

    def __init__(self, tower: FeatureExtractor[Any], loads: Sequence[Callable[[], Any]]) -> None:
        self._tower, self._loads = tower, loads

    def __len__(self) -> int:
        return len(self._loads)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Prepared(self._tower, self._loads[index])
        return self._tower.prepare(self._loads[index]())


def inputs_of(
    folder: Path, tower: FeatureExtractor[Item], *, write: bool = True, note: Note | None = None
) -> FeatureCache[Item] | RawInputs[Item]:
    """Return what gives a tower's features, from the cache in ``folder``, or its items as they are where nothing is cached."""
    return RawInputs(tower) if tower.raw else FeatureCache(folder, tower, write=write, note=note)


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=2)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an item lies: its shard's index, its first row and how many, and the digest of what is there."""

    index: Path
    shape: tuple[int, int]
    start: int
    count: int
    digest: str


class FeatureCache(Generic[Item]):
    """Features of items by the items' digests.

    Parameters
    ----------
    folder
        Where caches of all towers lie; shared between runs and processes.
    tower
        The frozen encoder; its ``id`` names the sub-folder.
    write
        Whether what is encoded is stored; without, nothing in the folder is changed.
    note
        Called with a line for each shard that was damaged; by default it becomes a warning.
    """

    def __init__(
        self, folder: Path, tower: FeatureExtractor[Item], *, write: bool = True, note: Note | None = None
    ) -> None:
        self.folder = folder / tower.id
        self._tower = tower
        self._store = write
        self._note = note or _warn
        self._features: dict[str, Half] = {}
        self._spans: dict[str, _Span] = {}
        self._opened: set[str] = set()
        self._mapped: dict[Path, Half] = {}

    def get(self, items: Sequence[tuple[str, Callable[[], Item]]], progress: Progress | None = None) -> list[Half]:
        """Return each item's features ``(tokens, dim)`` float16, read-only views into the memory-mapped shards.

        What is served for the first time is checked against its digest, which reads it once.

        Parameters
        ----------
        items
            For each item the digest of its content, and a function that gives it, called only if its features are missing.
        progress
            Called with (items encoded, items to encode), if any are missing.

        Raises
        ------
        RunError
            If the disk is full, or a tower's output does not fit float16.
        UserError
            If the folder cannot be written or read.
        """
        wanted = dict(items)
        if not wanted.keys() <= self._features.keys():
            self._open_shards()
            self._serve(wanted)
            missing = {name: load for name, load in wanted.items() if name not in self._features}
            self._build(missing, progress)
        return [self._features[name] for name, _ in items]

    def release(self) -> None:
        """Let go of the memory that pages of the shards take; features handed out stay valid and are read again when used.

        Without this it would grow with every client.
        """
        for array in self._mapped.values():
            let_go(array)

    def _serve(self, wanted: Mapping[str, object]) -> None:
        """Serve what lies in a shard and is whole; the shard of what is not is forgotten."""
        found: dict[Path, list[str]] = {}
        for name in wanted:
            if name not in self._features and name in self._spans:
                found.setdefault(self._spans[name].index, []).append(name)
        for index, names in found.items():
            try:
                for name in names:
                    self._features[name] = self._read(name, self._spans[name])
            except ValueError as error:
                self._forget(index, str(error))
            if index in self._mapped:
                let_go(self._mapped[index])

    def _read(self, name: str, span: _Span) -> Half:
        """Return an item's features; raises :class:`ValueError` if they are not those that were written."""
        if span.index not in self._mapped:
            try:
                self._mapped[span.index] = map_halves(span.index.with_suffix(".npy"), span.shape)
            except FileNotFoundError as error:
                raise ValueError("its data are missing") from error
            except OSError as error:
                raise _unreadable(span.index.with_suffix(".npy"), error) from error
        tokens = self._mapped[span.index][span.start : span.start + span.count]
        if self._digest(name, tokens) != span.digest:
            raise ValueError("its features do not match their digest")
        return tokens

    def _digest(self, name: str, tokens: Half) -> str:
        return digest(self._tower.id, name, str(tokens.shape), np.ascontiguousarray(tokens).tobytes())

    def _forget(self, index: Path, why: str) -> None:
        """Say that a shard is damaged, and take it away: what of it is needed is encoded anew."""
        self._note(f"{index.with_suffix('.npy')}: damaged ({why}); what it held is made again")
        self._spans = {name: span for name, span in self._spans.items() if span.index != index}
        self._mapped.pop(index, None)
        self._opened.discard(index.name)
        if self._store:
            for path in (index, index.with_suffix(".npy")):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise self._unwritable(error) from error

    def _build(self, missing: Mapping[str, Callable[[], Item]], progress: Progress | None) -> None:
        names, done, size = list(missing), 0, 0
        pending: dict[str, Half] = {}
        while done < len(names):
            chunk = names[done : done + self._tower.chunk]
            # Items are loaded one by one as the tower asks for them: a folder of photographs need not fit in memory.
            for name, tokens in zip(chunk, self._tower.encode(missing[name]() for name in chunk), strict=True):
                pending[name] = self._half(tokens)
                size += pending[name].nbytes
            done += len(chunk)
            if not self._store:
                self._features |= pending
                pending = {}
            elif size >= SHARD_BYTES or done == len(names):
                self._write(pending)
                pending, size = {}, 0
            if progress is not None:
                progress(done, len(names))

    def _half(self, tokens: NDArray[np.float32]) -> Half:
        with np.errstate(over="ignore"):
            half = tokens.astype(np.float16)
        if not np.isfinite(half).all():
            raise RunError(f"tower {self._tower.id}: features are not finite in float16; use another tower")
        return half

    def _write(self, features: Mapping[str, Half]) -> None:
        """Write a shard, open it, and serve from it."""
        index: dict[str, list[int | str]] = {}
        offset = 0
        for name, tokens in features.items():
            index[name] = [offset, len(tokens), self._digest(name, tokens)]
            offset += len(tokens)
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(list(features.values())))
        data = buffer.getvalue()
        about = {"schema": _SCHEMA, "shape": [offset, self._tower.dim], "bytes": len(data), "items": index}
        stem = self.folder / f"shard-{digest(*features)[:32]}"
        try:
            self._clear_scraps()
            write_bytes(stem.with_suffix(".npy"), data)
            write_bytes(stem.with_suffix(".json"), json.dumps(about, sort_keys=True).encode())
        except OSError as error:
            raise self._unwritable(error) from error
        self._open(stem.with_suffix(".json"))
        self._serve(features)
        if not features.keys() <= self._features.keys():
            raise RunError(f"{stem}.npy: changed while it was written; run the same command again")

    def _unwritable(self, error: OSError) -> UserError:
        why = error.strerror or error
        return UserError(
            f"{self.folder}: cannot write features ({why}); set FEDTAP_CACHE to a folder that can be written"
        )

    def _clear_scraps(self) -> None:
        """Remove what writes that were killed have left; what is young may be of a process that is at work."""
        for path in self.folder.glob(".shard-*"):
            if scrap_of(path) is not None and time.time() - path.stat().st_mtime > _STALE:
                path.unlink(missing_ok=True)

    def _open_shards(self) -> None:
        """Open the shards that are new since the last look, by whichever process they were written."""
        for path in sorted(self.folder.glob("shard-*.json")):
            if path.name not in self._opened:
                self._open(path)

    def _open(self, path: Path) -> None:
        """Take up where a shard's items lie. Nothing of the data is opened before an item is asked for."""
        try:
            about = json.loads(path.read_bytes())
            if about["schema"] == _OLD:
                self._opened.add(path.name)
                return
            rows, dim = about["shape"]
            if about["schema"] != _SCHEMA or dim != self._tower.dim:
                raise ValueError("its index is of another kind")
            spans = {
                str(name): _Span(path, (int(rows), int(dim)), int(start), int(count), str(told))
                for name, (start, count, told) in about["items"].items()
            }
            if any(span.start < 0 or span.count < 1 or span.start + span.count > rows for span in spans.values()):
                raise ValueError("its index tells of more than there is")
        except FileNotFoundError:
            return  # another process has found it damaged, and taken it away
        except OSError as error:
            raise _unreadable(path, error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._forget(path, " ".join(str(error).split()) or type(error).__name__)
            return
        for name, span in spans.items():
            self._spans.setdefault(name, span)
        self._opened.add(path.name)


def _unreadable(path: Path, error: OSError) -> UserError:
    why = error.strerror or error
    return UserError(
        f"{path}: the feature cache cannot be read ({why}); mend that, or set FEDTAP_CACHE to another folder"
    )
