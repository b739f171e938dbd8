"""The line that installs an optional part: it works from where this copy of fedtap is. Not here: what the parts are (doctor)."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def install(extra: str) -> str:
    """Return the line for an extra: from the checkout that this copy runs from, with the tested versions, or from the index."""
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():
        return f'{pip()} install "fedtap[{extra}]"'
    if _is_here(root):
        return f'{pip()} install -c constraints.txt -e ".[{extra}]"'
    return f"{pip()} install -c {shlex.quote(str(root / 'constraints.txt'))} -e {shlex.quote(f'{root}[{extra}]')}"


def install_package(name: str) -> str:
    """Return the line for a package that every copy of fedtap needs."""
    return f"{pip()} install {shlex.quote(name)}"


def pip() -> str:
    """Return how the pip of this Python is called: ``pip`` where that is the one, as in an environment that is activated."""
    found = shutil.which("pip")
    if found is not None and os.path.dirname(found) == os.path.dirname(sys.executable):
        return "pip"
    return f"{shlex.quote(sys.executable or 'python')} -m pip"


def _is_here(folder: Path) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:  # the current folder has been removed
        return False
