"""What lies in a folder of pictures and is not taken: other files, hidden ones, sub-folders of no class. Names only are read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from fedtap.data.sources.base import composed

NAMED = 5  # of what there may be many, so many are named


def left_alone(
    root: Path, *, classes: Collection[str] | None, suffixes: Collection[str], is_hidden: Callable[[Path], bool]
) -> tuple[str, ...]:
    """Return in a line each what of a folder is not taken.

    Parameters
    ----------
    root
        The folder.
    classes
        The names of the sub-folders that are taken, in composed form; None: all pictures below are.
    suffixes
        Of pictures, in lower case.
    is_hidden
        Tells, of a path from the root on, whether it is what systems and tools leave there.
    """
    hidden, links = 0, []
    others: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    beside = 0
    for path, is_file in _below(root):
        inner = path.relative_to(root)
        if is_hidden(inner):
            hidden += is_file
        elif not is_file:
            links.append(inner.as_posix())
        elif path.suffix.lower() not in suffixes:
            others[path.suffix.lower() or "no suffix"] += 1
        elif classes is not None and len(inner.parts) == 1:
            beside += 1
        elif classes is not None and composed(inner.parts[0]) not in classes:
            elsewhere[inner.parts[0]] += 1
    told = []
    if elsewhere:
        shown = [f"'{name}' ({_count(number, 'picture')})" for name, number in sorted(elsewhere.items())]
        told.append(f"{_count(len(shown), 'sub-folder')} of no class: {_some(shown)}")
    if beside:
        told.append(f"{_count(beside, 'picture')} in no class's folder")
    if others:
        shown = [f"{number} {suffix}" for suffix, number in sorted(others.items())]
        told.append(f"{_count(others.total(), 'file')} that {_is(others.total())} no picture: {_some(shown)}")
    if links:
        told.append(f"{_count(len(links), 'link')} to other folders: {_some(sorted(links))}")
    if hidden:
        told.append(_count(hidden, "hidden file"))
    return tuple(f"not taken: {line}" for line in told)


def _below(root: Path) -> Iterator[tuple[Path, bool]]:
    """Iterate over the files below a folder, and the links to folders, which are not followed: (path, is it a file)."""
    for here, folders, files in os.walk(root):
        for name in folders:
            if (path := Path(here) / name).is_symlink():
                yield path, False
        for name in files:
            yield Path(here) / name, True


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
