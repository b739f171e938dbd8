"""Which packages fedtap needs, and whether those that are installed are new enough. Nothing is imported but the lists of pip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MODULES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages that are imported under another name."""
_ONE = re.compile(r"(>=|==|<)\s*([0-9][0-9.]*)")


@dataclass(frozen=True, slots=True)
class Need:
    """A package that fedtap needs.

    ``wanted`` are the versions, as in the project's file; ``found`` is the one that is installed, or None; ``right`` tells
    whether it is one of those.
    """

    package: str
    wanted: str
    found: str | None
    right: bool


def needs() -> list[Need]:
    """Return what fedtap needs in any case, as its own entry in the environment says; empty where it has none."""
    from importlib import metadata  # a fifth of the time in which the command is loaded

    try:
        lines = metadata.requires("fedtap") or []
    except metadata.PackageNotFoundError:
        return []
    return [_looked_up(package, wanted) for package, wanted in _always(lines)]


def package_of(module: str) -> str:
    """Return the package that a module comes with.

    >>> package_of("sklearn.datasets"), package_of("torch")
    ('scikit-learn', 'torch')
    """
    top = module.partition(".")[0]
    return _MODULES.get(top, top.replace("_", "-"))


def fits(version: str, wanted: str) -> bool:
    """Tell whether a version is one of those wanted; of a version its numbers count, not what stands behind them.

    >>> fits("2.13.0+cpu", ">=2.6"), fits("2.5.1", ">=2.6"), fits("1.42", ">=1.41,<1.42"), fits("0.16", ">=0.16.0")
    (True, False, False, True)
    """
    have = _numbers(version)
    return all(
        {">=": have >= _numbers(bound), "==": have == _numbers(bound), "<": have < _numbers(bound)}[sign]
        for sign, bound in _ONE.findall(wanted)
    )


def _always(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        requirement, _, condition = line.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(.*)", requirement)
        if match is not None and "extra" not in condition:
            yield match[1], match[2].strip()


def _looked_up(package: str, wanted: str) -> Need:
    from importlib import metadata

    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Need(package, wanted, None, right=False)
    return Need(package, wanted, found, right=fits(found, wanted))


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
