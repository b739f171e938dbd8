"""Where frozen weights come from: installed packages, checked against pinned checksums, read once per process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install
from fedtap.runtime.storage import digest

_modules: dict[tuple[str, str], nn.Module] = {}
_loads = 0
_lock = threading.RLock()


def loads() -> int:
    """Return how many times frozen weights were read or made in this process."""
    return _loads


def load_once(key: tuple[str, str], build: Callable[[], nn.Module]) -> nn.Module:
    """Return the module made by ``build``, made once per key (name, device), frozen and in evaluation mode.

    The global random generator is left as it was, although constructors draw their initial weights from it. Weights that are
    first needed while examples are encoded, in inference mode, can be trained through all the same.
    """
    global _loads
    with _lock:
        if key not in _modules:
            with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
                module = build()
            _modules[key] = module.eval().requires_grad_(False)
            _loads += 1
        return _modules[key]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and printing tables beside fedtap's own output; faults still raise."""
    from transformers.utils import logging as told

    logging: Any = told  # untyped in part
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def package_folder(package: str) -> Path:
    """Return an installed package's folder without importing it.

    Raises
    ------
    UserError
        If it is not installed; names the command that installs it.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"backbone: the package '{package.replace('_', '-')}' is not installed; "
            f"{install('quickstart')}, or set backbone.vision and backbone.text to untrained-tiny"
        )
    return Path(found.origin).parent


@functools.cache
def verify(path: Path, sha256: str) -> Path:
    """Return ``path`` after checking its SHA-256, once per process.

    Raises
    ------
    UserError
        If the file is missing or is not the one that the checksum names.
    """
    try:
        found = checksum(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); reinstall the package that holds it") from error
    if found != sha256:
        raise UserError(
            f"{path}: SHA-256 is {found[:12]}..., expected {sha256[:12]}...; reinstall the package that holds it"
        )
    return path


def checksum(path: Path) -> str:
    """Return a file's SHA-256; it is read block by block, however large."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):  # hashlib.file_digest would do this, but needs Python 3.11
            sha.update(block)
    return sha.hexdigest()


def tower_id(label: str, device: torch.device, *parts: str) -> str:
    """Return a tower's id: a readable label, the kind of device, and a digest of all that could change a bit of a feature."""
    return f"{label}-{device.type}-{digest(label, device.type, torch.__version__, *parts)[:12]}"
