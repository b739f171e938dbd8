"""A home folder for a process whose account has none, as in many containers. Not here: what is kept in it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from fedtap.runtime.errors import UserError


def give_home() -> Path:
    """Return the home folder; where there is none, set ``HOME`` to a private folder among the temporary ones.

    Without ``HOME`` and without an entry in the table of accounts, ``Path.home()`` raises, and so do libraries that look for
    their own folders there when they are imported.
    """
    try:
        return Path.home()
    except RuntimeError:
        home = _private_folder()
        os.environ["HOME"] = str(home)
        return home


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` written out.

    Raises
    ------
    UserError
        If it names the home of an account that is not there.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such home folder; write the path out") from error


def _private_folder() -> Path:
    """Return a folder that only this account can use: the same each time, unless somebody else holds its name."""
    wanted = Path(tempfile.gettempdir()) / f"fedtap-home-{os.getuid()}"
    try:
        wanted.mkdir(mode=0o700)
    except FileExistsError:
        found = wanted.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return Path(tempfile.mkdtemp(prefix="fedtap-home-"))
    return wanted
