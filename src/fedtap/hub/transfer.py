"""Files of a repository brought into the hub's own cache by ``huggingface_hub``, and each held against the hub's digest.

What has come whole is kept whatever happens to the rest; what is not what the hub lists is removed.
"""

from __future__ import annotations

import glob
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path

from fedtap.hub.faults import told
from fedtap.hub.repository import Repository, Seal
from fedtap.runtime.errors import UserError

Progress = Callable[[int, int], None]
"""Called with the bytes that are there, and with all that are asked for."""
_LOOK = 0.25  # seconds between two looks at what has come
_AT_ONCE = 4


def bring(repository: Repository, paths: Sequence[str], progress: Progress | None = None) -> Path:
    """Bring files that are not there yet, check all of them, and return their folder.

    Parameters
    ----------
    repository
        As the hub told it.
    paths
        Which of its files.
    progress
        Hears how far it is, from a thread of its own.

    Raises
    ------
    UserError
        If a file does not come, or is another than the hub lists.
    """
    from huggingface_hub import snapshot_download

    wanted = {path: repository.files[path] for path in paths}
    drop_damaged(repository.folder, wanted)
    if all((repository.folder / path).is_file() for path in paths):
        return repository.folder  # nobody has to be asked
    with _watched(repository, paths, progress), quiet():
        try:
            folder = Path(
                snapshot_download(
                    repository.name,
                    repo_type=repository.kind,
                    revision=repository.revision,
                    allow_patterns=[glob.escape(path) for path in paths],
                    max_workers=_AT_ONCE,
                )
            )
        except Exception as error:  # the hub's client raises a dozen kinds, and httpx's beside them
            raise told(error, repository.kind, repository.name, repository.revision) from error
    wrong = drop_damaged(folder, wanted)
    lost = [path for path in paths if not (folder / path).is_file()]
    if lost:
        why = "is not what the hub lists (its digest is another)" if lost[0] in wrong else "has not come"
        raise UserError(
            f"{repository.name}: {lost[0]} {why}, and is not kept; give the command again, and if it says so again, look for a "
            "proxy or mirror in between (HF_ENDPOINT)"
        )
    return folder


def drop_damaged(folder: Path, files: Mapping[str, Seal]) -> list[str]:
    """Remove, and return, those files that are there and are not what they must be."""
    wrong = [
        path for path, seal in sorted(files.items()) if (folder / path).exists() and not seal.matches(folder / path)
    ]
    for path in wrong:
        file = folder / path
        content = file.resolve()
        file.unlink(missing_ok=True)
        content.unlink(missing_ok=True)  # the name in the snapshot is a link to it
    return wrong


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the hub's client from drawing bars and telling of each retry or of the disk: what comes of it is told in one line."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    level, bars = get_verbosity(), not are_progress_bars_disabled()
    set_verbosity(ERROR)
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Not enough free disk space")
            yield
    finally:
        set_verbosity(level)
        if bars:
            enable_progress_bars()


@contextmanager
def _watched(repository: Repository, paths: Sequence[str], progress: Progress | None) -> Iterator[None]:
    """Look from time to time how much has come: it goes for every way that the client has of bringing a file."""
    if progress is None:
        yield
        return
    total, over = repository.size(paths), threading.Event()
    before = _bytes_in(repository.folder.parent.parent / "blobs")
    here = sum(repository.files[path].size for path in paths if (repository.folder / path).is_file())

    def look() -> None:
        while not over.wait(_LOOK):
            come = _bytes_in(repository.folder.parent.parent / "blobs") - before
            progress(max(here, min(total, here + come)), total)

    thread = threading.Thread(target=look, daemon=True)
    progress(here, total)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    progress(total, total)


def _bytes_in(folder: Path) -> int:
    found = 0
    for file in folder.glob("*") if folder.is_dir() else ():
        try:
            found += file.stat().st_size
        except OSError:  # a temporary file that has become whole meanwhile
            continue
    return found
