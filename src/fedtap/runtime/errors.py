"""The errors that the user can mend. Not for programming mistakes: those stay ordinary exceptions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What the user gave is wrong. The message is ONE line: the place, what is wrong, and the mend (exit code 2)."""


class RunError(Exception):
    """The run failed for a reason outside the program, such as a full disk. One line, with the mend (exit code 1)."""


def nearest_of(given: str, known: Iterable[str]) -> str | None:
    """Return the known name that a given one is most likely a slip for, if any is near.

    >>> nearest_of("fedvag", ["fedavg", "local"]), nearest_of("x", ["fedavg", "local"])
    ('fedavg', None)
    """
    return next(iter(difflib.get_close_matches(given, sorted(known), n=1, cutoff=0.6)), None)


def nearest(given: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the nearest known name, or the list of known names where none is near.

    >>> nearest("fedvag", ["fedavg", "local"])
    "did you mean 'fedavg'?"
    """
    names = sorted(known)
    close = nearest_of(given, names)
    return f"known: {', '.join(names)}" if close is None else f"did you mean '{close}'?"
