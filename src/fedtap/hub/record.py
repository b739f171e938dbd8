"""What ``fedtap fetch`` has brought, by repository: its commit, and the digest of every file. A run takes that and asks nobody.

A record is written when all of its files are there and are what the hub lists, and lies beside them in ``HF_HOME``: who takes
that folder to another machine takes it along. Not here: the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fedtap.hub.repository import Kind, Repository, Seal, snapshot, sound_path
from fedtap.runtime.errors import UserError
from fedtap.runtime.storage import read_json, write_json

_MOST = 16_000_000  # bytes
FileName = Annotated[str, Field(max_length=1_000), AfterValidator(sound_path)]
Splits = Mapping[str, tuple[FileName, ...]]


class Fetched(BaseModel):
    """What was brought of a repository.

    Parameters
    ----------
    kind, name, revision
        Which it is, at which commit.
    licence
        As its card says.
    gated
        Whether its owner asks for an agreement.
    files
        What each file is, by its path.
    parts
        Of a data set: for each of its configurations (``""`` is the only one) the files of each split.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    kind: Kind
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    licence: str = ""
    gated: bool = False
    files: Mapping[FileName, Seal]
    parts: Mapping[str, Splits] = {}

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return snapshot(self.kind, self.name, self.revision)

    @property
    def repository(self) -> Repository:
        """The repository, as far as it was brought."""
        return Repository(self.kind, self.name, self.revision, self.files, self.licence, self.gated)

    def missing(self) -> tuple[str, ...]:
        """Return the files that are no longer there, or have another size."""
        return tuple(sorted(path for path, seal in self.files.items() if not seal.fits(self.folder / path)))


def place(kind: Kind, name: str) -> Path:
    """Return where a repository's record is, or would be."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "fedtap" / f"{kind}s--{name.replace('/', '--')}.json"


def read(kind: Kind, name: str) -> Fetched | None:
    """Return what was fetched of a repository, or None.

    Raises
    ------
    UserError
        If the record is damaged.
    """
    path = place(kind, name)
    if not path.is_file():
        return None
    try:
        found = Fetched.model_validate(read_json(path, _MOST))
        if (found.kind, found.name) != (kind, name):
            raise UserError(f"it is of {found.name}")
    except (UserError, ValidationError) as error:
        raise UserError(f"{path}: is no record of `fedtap fetch`; remove it, then fetch again") from error
    return found


def write(fetched: Fetched) -> None:
    """Write a record, in the place of an earlier one."""
    write_json(place(fetched.kind, fetched.name), fetched.model_dump(mode="json"))


def at_hand(kind: Kind, name: str) -> Fetched | None:
    """Return what was fetched of a repository, all of which is still there, or None where it never was.

    Raises
    ------
    UserError
        If files of it are gone.
    """
    found = read(kind, name)
    if found is not None and (gone := found.missing()):
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise UserError(
            f"{name}: was fetched at {found.revision[:12]}, and {gone[0]}{more} of it is no longer in {found.folder}; run "
            "`fedtap fetch SCENARIO` again"
        )
    return found
