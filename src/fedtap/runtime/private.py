"""Files and folders that nobody else on the machine may read: keys, a node's settings, private models.

Not here: durable writes (storage).
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER, FILE = 0o700, 0o600


def private_folder(path: Path) -> Path:
    """Make a folder for its owner alone, where it is not there yet, and return it; one that is there keeps its mode."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=FOLDER, exist_ok=True)
    return path


def new_private_file(path: Path, content: bytes = b"") -> Path:
    """Write a file for its owner alone, from its first byte on, and return it; raises FileExistsError if it is there."""
    private_folder(path.parent)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE), "wb") as file:
        file.write(content)
    return path
