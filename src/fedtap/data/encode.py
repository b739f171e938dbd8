"""The feature cache: each example goes through a frozen tower once per machine, not once per step. Not a data loader.

Features lie in shards, ``<folder>/<tower id>/shard-<digest>.npy`` (all tokens of all items, ``(tokens, dim)`` float16), each
beside a ``.json`` index. Data are written before their index and both by renaming, so that any number of processes may build
the same cache: none sees half a shard, and the worst that can happen is work done twice.
"""

from __future__ import annotations

import io
import json
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedtap.data.feature_extractor import FeatureExtractor
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.home import expanded, give_home
from fedtap.runtime.storage import digest, write_bytes

Item = TypeVar("Item")
Half = NDArray[np.float16]
Progress = Callable[[int, int], None]

SHARD_BYTES = 32 * 2**20
_SCHEMA = 1


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


def inputs_of(folder: Path, tower: FeatureExtractor[Item]) -> FeatureCache[Item] | RawInputs[Item]:
    """Return what gives a tower's features, from the cache in ``folder``, or its items as they are where nothing is cached."""
    return RawInputs(tower) if tower.raw else FeatureCache(folder, tower)


class FeatureCache(Generic[Item]):
    """Features of items by the items' digests.

    Parameters
    ----------
    folder
        Where caches of all towers lie; shared between runs and processes.
    tower
        The frozen encoder; its ``id`` names the sub-folder.
    """

    def __init__(self, folder: Path, tower: FeatureExtractor[Item]) -> None:
        self.folder = folder / tower.id
        self._tower = tower
        self._features: dict[str, Half] = {}
        self._opened: set[str] = set()
        self._maps: list[mmap.mmap] = []

    def get(self, items: Sequence[tuple[str, Callable[[], Item]]], progress: Progress | None = None) -> list[Half]:
        """Return each item's features ``(tokens, dim)`` float16, read-only views into the memory-mapped shards.

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
            If the folder cannot be written.
        """
        wanted = dict(items)
        if not wanted.keys() <= self._features.keys():
            self._open_shards()
            missing = {name: load for name, load in wanted.items() if name not in self._features}
            self._build(missing, progress)
        return [self._features[name] for name, _ in items]

    def release(self) -> None:
        """Let go of the memory that pages of the shards take; features handed out stay valid and are read again when used.

        Pages of a mapped file count as the process's memory once touched: without this it would grow with every client.
        """
        advice = getattr(mmap, "MADV_DONTNEED", None)
        if advice is None:  # not on every system; there the kernel takes pages back when memory is short
            return
        for mapped in self._maps:
            mapped.madvise(advice)

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
            if size >= SHARD_BYTES or done == len(names):
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
        index, offset = {}, 0
        for name, tokens in features.items():
            index[name] = [offset, len(tokens)]
            offset += len(tokens)
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(list(features.values())))
        data = buffer.getvalue()
        about = {"schema": _SCHEMA, "shape": [offset, self._tower.dim], "bytes": len(data), "items": index}
        stem = self.folder / f"shard-{digest(*features)[:32]}"
        try:
            write_bytes(stem.with_suffix(".npy"), data)
            write_bytes(stem.with_suffix(".json"), json.dumps(about, sort_keys=True).encode())
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot write features ({error.strerror}); set FEDTAP_CACHE to a folder that can be written"
            ) from error
        if not self._open(stem.with_suffix(".json")):
            raise RunError(f"{stem}.npy: changed while it was written; run the same command again")

    def _open_shards(self) -> None:
        """Open the shards that are new since the last look, by whichever process they were written."""
        for path in sorted(self.folder.glob("shard-*.json")):
            if path.name not in self._opened:
                self._open(path)

    def _open(self, path: Path) -> bool:
        """Serve from a shard if it is whole; a damaged one is left alone, its items count as missing and are encoded anew."""
        try:
            about = json.loads(path.read_bytes())
            rows, dim = about["shape"]
            data = path.with_suffix(".npy")
            whole = about["schema"] == _SCHEMA and dim == self._tower.dim and data.stat().st_size == about["bytes"]
            if not whole:
                return False
            mapped = np.load(data, mmap_mode="r", allow_pickle=False)
            tokens = mapped.view(np.ndarray)
            if tokens.shape != (rows, dim) or tokens.dtype != np.float16:
                return False
            spans = {str(name): (int(start), int(count)) for name, (start, count) in about["items"].items()}
            if any(start < 0 or count < 1 or start + count > rows for start, count in spans.values()):
                return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        for name, (start, count) in spans.items():
            # What was served once is served again, from the same shard.
            self._features.setdefault(name, tokens[start : start + count])
        if isinstance(mapped, np.memmap):
            self._maps.append(mapped._mmap)  # type: ignore[attr-defined]  # numpy keeps it there, untyped
        self._opened.add(path.name)
        return True
