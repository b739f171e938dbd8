"""Whether a name means a folder of this machine or a model of the hub: decided in one way wherever either may stand.

A folder that is there is meant before a name of the hub that is spelt alike. What is written as a path is never asked of the hub:
a slip in it gets a line about the folder. Not here: fetching.
"""

from __future__ import annotations

import re
from pathlib import Path

from fedtap.runtime.errors import UserError, nearest_of

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_hub_name(name: str) -> bool:
    """Tell whether the hub has names of this form: ``owner/name``.

    >>> is_hub_name("facebook/dinov2-small"), is_hub_name("~/dinov2"), is_hub_name("a/b/c")
    (True, False, False)
    """
    return _HUB_NAME.fullmatch(name) is not None


def is_path(name: str) -> bool:
    """Tell whether a name is written as a path, whether or not something lies there.

    >>> [is_path(name) for name in ("~/vit", "./vit", "/models/vit", "models/old/vit", "vit/")]
    [True, True, True, True, True]
    >>> [is_path(name) for name in ("facebook/dinov2-small", "minilm-l6")]
    [False, False]
    """
    return ("/" in name or "\\" in name or name.startswith("~") or name in (".", "..")) and not is_hub_name(name)


def means_folder(name: str, place: Path, *, holds: str = "config.json") -> bool:
    """Tell whether a name means a folder: it is written as a path, or there is such a folder.

    A folder that merely has the name of something else (a tower of fedtap's own, say) is meant if it has that file in it.
    """
    return is_path(name) or (place / holds).is_file() or ("/" in name and place.is_dir())


def folder_named(
    name: str,
    place: Path,
    *,
    key: str,
    holds: str = "config.json",
    mend: str = "mend the path, or give owner/name of the hub",
) -> Path | None:
    """Return the folder that a name means, or None if it is no path and no folder of that name is there.

    Parameters
    ----------
    name
        As it was given.
    place
        Where a folder of this name would be.
    key
        What the name was given for; messages begin with it.
    holds
        The file without which a folder is not what is asked for.
    mend
        What to do where there is no folder.

    Raises
    ------
    UserError
        If the name is a path and there is no folder; or there is one, and it does not hold that file.
    """
    if place.is_dir():
        if not (place / holds).is_file():
            raise UserError(
                f"{key}: the folder {place} has no {holds}; give one that save_pretrained wrote{_inside(place, holds)}"
            )
        return place
    if place.exists():
        raise UserError(f"{key}: {place} is a file; give the folder that it lies in")
    if is_path(name):
        raise UserError(f"{key}: there is no folder {place}{_near(place)}; {mend}")
    return None


def not_here(name: str, place: Path) -> str:
    """Return what to say of a name of the hub that was not found there, and might be a folder's with a slip in it.

    Nothing, unless the folder above it is on this machine.
    """
    return f"; nor is there a folder {place}{_near(place)}" if place.parent.is_dir() and is_hub_name(name) else ""


def _inside(place: Path, holds: str) -> str:
    """Name a folder within one that holds what is asked for, such as a snapshot in a copy of the hub's cache."""
    found = [each for depth in ("*", "*/*") for each in sorted(place.glob(f"{depth}/{holds}"))][:1]
    return f" ({found[0].parent} has one)" if found else ""


def _near(place: Path) -> str:
    """Name what is there and nearest to a folder that is not: one spelt alike, or the last folder of its path."""
    if place.parent.is_dir():
        names = [each.name for each in place.parent.iterdir() if each.is_dir()]
        close = nearest_of(place.name, names)
        return f" (did you mean '{close}'?)" if close else ""
    there = next((above for above in place.parents if above.is_dir()), None)
    return "" if there is None else f" (the path is there up to {there})"
