"""Files of a run that go with requests to workers that do not see its folder, and come back with their answers.

A client's private state goes to the worker that is asked for the client, and comes back changed; its saved models come back when
it has been tested. Between two requests a worker holds no client's. So machines need to share no storage, and the run's folder is
what it is without workers.

Not here: what the files hold (``federation/store.py``, ``folder.py``), and who carries them (``engines/ray/``). Without torch, as
``worker.py`` begins.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedtap.engines.pipe import Frame, Head
from fedtap.runtime.errors import RunError
from fedtap.runtime.private import FILE, private_folder
from fedtap.runtime.storage import write_bytes

if TYPE_CHECKING:
    from fedtap.experiment.folder import RunFolder

Files = Mapping[str, bytes]
"""Contents by the place in the run's folder, with slashes."""
STATES, MODELS, OUTCOMES = "checkpoint/clients", "clients", "outcomes"
_PLACE = re.compile(rf"({STATES}/[^/]+|{MODELS}/[^/]+/[^/]+|{OUTCOMES})/[^/]+")
"""Where such files lie: below a client's folder, or what is told of its test, and nowhere else."""


def with_files(frame: tuple[Head, bytes], files: Files) -> Frame:
    """Return a frame that holds files too."""
    head, data = frame
    sizes = {name: len(content) for name, content in files.items()}
    return {**head, "files": sizes}, b"".join((data, *files.values()))


def without_files(head: Head, data: bytes) -> tuple[Frame, Files]:
    """Return a frame as it was before :func:`with_files`, and the files."""
    sizes = head["files"]
    end = at = len(data) - sum(sizes.values())
    files = {}
    for name, size in sizes.items():
        files[name] = data[at : at + size]
        at += size
    return ({key: value for key, value in head.items() if key != "files"}, data[:end]), files


class RunFiles:
    """The run's folder, as the process sees it that asks workers; see :class:`fedtap.engines.ray.cluster.Files`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def outgoing(self, head: Head, data: bytes) -> Frame:
        """Return a request with the state that its client goes on from; raises :class:`UserError` if that is gone."""
        if "client" not in head:
            return dict(head), data
        client, number = str(head["client"]), int(head["round"])
        before = number + (head["kind"] == "evaluate")  # tested is what the last request has made
        store = self._folder.store
        if head["newest"]:
            store.expect(client, [head["newest"]])
        store.check(client, before)
        return with_files(
            (head, data), {f"{STATES}/{client}/{p.name}": p.read_bytes() for p in store.files(client, before)}
        )

    def incoming(self, head: Head, data: bytes) -> Frame:
        """Write what an answer has brought, and return it without."""
        if "files" not in head:
            return dict(head), data
        frame, files = without_files(head, data)
        for name, content in files.items():
            put(self._folder.path, name, content)
        for name in head["gone"]:
            (self._folder.path / _checked(name)).unlink(missing_ok=True)
        self._folder.store.tidy(str(head["client"]))
        return {key: value for key, value in frame[0].items() if key != "gone"}, frame[1]


class Scratch:
    """A worker's folder in place of the run's, with what belongs to one request; it is there only while that is answered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._came: Files = {}

    def take(self, head: Head, data: bytes) -> Frame:
        """Lay a request's files out, and return it without."""
        private_folder(self.path)
        frame, self._came = without_files(head, data)
        for name, content in self._came.items():
            put(self.path, name, content)
        return frame

    def give(self, head: Head, data: bytes) -> Frame:
        """Return an answer with the files that are new or others now, and the names of those that are gone; keep none."""
        there = {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }
        self.clear()
        new = {name: content for name, content in there.items() if self._came.get(name) != content}
        return with_files(({**head, "gone": sorted(self._came.keys() - there.keys())}, data), new)

    def clear(self) -> None:
        """Keep nothing, of a request that has come to no answer too."""
        shutil.rmtree(self.path, ignore_errors=True)


def put(folder: Path, name: str, content: bytes) -> None:
    """Write a file at its place in a run's folder, whole or not at all; a private state is for its owner alone."""
    path = folder / _checked(name)
    if name.startswith(f"{STATES}/"):
        private_folder(private_folder(path.parent.parent) / path.parent.name)
    write_bytes(path, content)
    if name.startswith(f"{STATES}/"):
        path.chmod(FILE)


def _checked(name: str) -> str:
    if not _PLACE.fullmatch(name) or ".." in name.split("/"):
        raise RunError(
            f"a worker handed back a file '{name}', which has no place in a run's folder; see who runs the cluster"
        )
    return name
