"""The errors that the user can mend. Not for programming mistakes: those stay ordinary exceptions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What the user gave is wrong. The message is ONE line: the place, what is wrong, and the mend (exit code 2)."""


class RunError(Exception):
    """The run failed for a reason outside the program, such as a full disk. One line, with the mend (exit code 1)."""


def nearest(given: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the nearest known name, or the list of known names where none is near.

    >>> nearest("fedvag", ["fedavg", "local"])
    "did you mean 'fedavg'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
