"""Finding data that come as an installed Python package, without importing the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install


def package_file(package: str, *parts: str) -> Path:
    """Return the path of a file or folder inside an installed package.

    Raises
    ------
    UserError
        If the package is not installed, or lacks the file.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"package {package.replace('_', '-')} is not installed; run: {install('quickstart')}")
    path = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)
    if not path.exists():
        raise UserError(
            f"{path}: the installed package lacks it; uninstall {package.replace('_', '-')}, then run: {install('quickstart')}"
        )
    return path
