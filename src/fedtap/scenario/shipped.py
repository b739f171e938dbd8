"""The federations that come with the package, by name, and which file a name or a path means. Not here: what is in the files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fedtap.runtime.errors import nearest_of

SUFFIXES = (".yaml", ".yml")
"""How scenarios' files end."""
_PACKAGE = Path(__file__).parents[1]


@cache
def shipped_folder() -> Path | None:
    """Return the folder of the federations that come with fedtap: in the package, or in the checkout around it; None: neither."""
    checkout = _PACKAGE.parents[1]
    if (_PACKAGE / "scenarios").is_dir():
        return _PACKAGE / "scenarios"
    if (checkout / "pyproject.toml").is_file() and (checkout / "scenarios").is_dir():
        return checkout / "scenarios"
    return None


def shipped() -> Mapping[str, Path]:
    """Return the files of the federations that come with fedtap, by name."""
    folder = shipped_folder()
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def scenario_file(given: str | Path) -> Path:
    """Return the file that a scenario's path or name means: what lies in the current folder goes before what comes with fedtap.

    A path is itself. A name alone, without a folder, is a file called so; or so with ``.yaml`` or ``.yml`` behind it; or the
    federation of that name that comes with fedtap; the first of them that is there.
    """
    path = Path(given)
    if path.name != str(given) or os.path.isfile(path):
        return path
    for here in (path.with_name(path.name + suffix) for suffix in SUFFIXES):
        if os.path.isfile(here):
            return here
    return shipped().get(path.name, path)


def in_the_way(given: str | Path) -> Path | None:
    """Return the file of the current folder that a name means, where a federation that comes with fedtap is called so too."""
    named = Path(given)
    meant = scenario_file(given)
    return meant if named.name == str(given) and named.name in shipped() and meant != shipped()[named.name] else None


def mend_of(missing: Path) -> str:
    """Return what to do about a file that is not there: its name may be that of a federation that comes with fedtap."""
    name = missing.stem if missing.suffix in SUFFIXES else missing.name
    if name in shipped():
        return f"'{name}' alone means the one that comes with fedtap"
    if missing.suffix or missing.parent != Path():
        return "mend the path; `fedtap scenario list` shows the federations that come with fedtap"
    close = nearest_of(name, shipped())
    meant = "" if close is None else f"did you mean '{close}'? "
    return f"{meant}`fedtap scenario list` shows those at hand"
