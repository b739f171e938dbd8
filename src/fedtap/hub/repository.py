"""A repository of the hub at one commit: its files with their sizes and digests, its licence, and whether it is gated.

Only what the hub says of it. Not here: which of its files are wanted, and how they come (transfer).
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedtap.hub.faults import told
from fedtap.runtime.errors import UserError
from fedtap.runtime.text import one_line

Kind = Literal["model", "dataset"]
_BLOCK = 1 << 20


class Seal(BaseModel):
    """What a file must be.

    Parameters
    ----------
    size
        In bytes.
    how
        ``sha256`` of its content, as the hub has it of large files, or ``git``: the SHA-1 of git's blob, as of all others.
    digest
        In hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=0)]
    how: Literal["sha256", "git"]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]

    def fits(self, file: Path) -> bool:
        """Tell whether a file is there and has the size; its content is not read."""
        return file.is_file() and file.stat().st_size == self.size

    def matches(self, file: Path) -> bool:
        """Tell whether a file has the size and the digest; it is read block by block, however large."""
        if not self.fits(file):
            return False
        blob = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        found = hashlib.sha256() if self.how == "sha256" else blob
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                found.update(block)
        return found.hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Repository:
    """What the hub says of a repository.

    Attributes
    ----------
    kind, name
        Which it is.
    revision
        Its commit.
    files
        What each file must be, by its path.
    licence
        As its card says, or nothing.
    gated
        Whether its owner asks for an agreement; whoever got this far has given it.
    """

    kind: Kind
    name: str
    revision: str
    files: Mapping[str, Seal]
    licence: str = ""
    gated: bool = False

    def matching(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Return the paths of the files that match one of these patterns, as the hub's own client takes them."""
        wanted = tuple(patterns)
        return tuple(sorted(path for path in self.files if any(fnmatch.fnmatch(path, each) for each in wanted)))

    def size(self, paths: Iterable[str]) -> int:
        """Return the bytes of some of its files."""
        return sum(self.files[path].size for path in paths)

    @property
    def folder(self) -> Path:
        """Where the hub's client keeps this commit, whether it is there or not."""
        return snapshot(self.kind, self.name, self.revision)


def cache() -> Path:
    """Return the folder where the hub's client keeps what it brings (``HF_HOME``, ``HF_HUB_CACHE``)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def endpoint() -> str:
    """Return the address of the hub (``HF_ENDPOINT``)."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def snapshot(kind: Kind, name: str, revision: str) -> Path:
    """Return the folder of a commit in the cache."""
    return cache() / f"{kind}s--{name.replace('/', '--')}" / "snapshots" / revision


def look_up(kind: Kind, name: str, revision: str | None = None) -> Repository:
    """Ask the hub for a repository; no file of it is fetched.

    Parameters
    ----------
    kind, name
        Which it is.
    revision
        A branch, a tag or a commit; by default the newest of the main branch.

    Raises
    ------
    UserError
        If there is none, or not for this account, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        about: Any = api.repo_info(name, repo_type=kind, revision=revision, files_metadata=True)
        if about.gated:
            api.auth_check(name, repo_type=kind)
    except Exception as error:  # the hub's client raises a dozen kinds, and httpx's beside them
        raise told(error, kind, name, revision) from error
    try:
        files = {sound_path(file.rfilename): _seal(file) for file in about.siblings or ()}
        commit = str(about.sha)
        if not is_commit(commit):
            raise ValueError(f"its commit is {commit}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{name}: {endpoint()} says nothing sound of it ({one_line(str(error), 160)}); check HF_ENDPOINT"
        ) from error
    licence: Any = getattr(about.card_data, "license", None)
    told_licence = ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence or "")
    return Repository(kind, name, commit, files, one_line(told_licence, 60), bool(about.gated))


def is_commit(name: str) -> bool:
    """Tell whether a revision is a commit, rather than a branch or a tag."""
    return len(name) == 40 and set(name) <= set("0123456789abcdef")


def _seal(file: Any) -> Seal:
    lfs = file.lfs
    if lfs is None:
        return Seal(size=file.size, how="git", digest=file.blob_id)
    large = lfs if isinstance(lfs, Mapping) else {"size": lfs.size, "sha256": lfs.sha256}
    return Seal(size=large["size"], how="sha256", digest=large["sha256"])


def sound_path(path: str) -> str:
    """Return a path that stays in its folder; the hub is another's machine."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or "\0" in path or set(parts) & {"..", "."}:
        raise ValueError(f"a file is called {path!r}")
    return path
