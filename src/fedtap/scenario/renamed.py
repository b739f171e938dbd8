"""Keys that have another name now: the old one is understood still, and one line says what it is called."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from fedtap.runtime.errors import UserError

RENAMED: Mapping[str, str] = {
    "training.finish_steps": "training.finetune_steps",
    "training.finish_lr": "training.finetune_lr",
}
"""Of a scenario: old key, new key; both in the same section."""


class RenamedKeyWarning(FutureWarning):
    """A key was given by its old name."""


def current(key: str, place: str, renamed: Mapping[str, str] = RENAMED) -> str:
    """Return the name that a key has now, and warn where that is another one.

    >>> current("training.lr", "--set training.lr=1")
    'training.lr'
    """
    new = renamed.get(key)
    if new is None:
        return key
    warnings.warn(f"{place}: '{key}' is called '{new}' now; rename it", RenamedKeyWarning, stacklevel=2)
    return new


def with_current_keys(raw: Mapping[str, Any], place: str, renamed: Mapping[str, str] = RENAMED) -> dict[str, Any]:
    """Return a nested mapping with the names that its keys have now; what was given is left as it is.

    Raises
    ------
    UserError
        If a key is given by both its names.
    """
    changed = dict(raw)
    for old in renamed:
        *above, last = old.split(".")
        here: Any = raw
        for name in above:
            here = here.get(name) if isinstance(here, Mapping) else None
        if not isinstance(here, Mapping) or last not in here:
            continue
        new = current(old, place, renamed).split(".")[-1]
        if new in here:
            raise UserError(
                f"{place}: '{old}' is the old name of '{renamed[old]}', which is given too; remove the old one"
            )
        target = changed
        for name in above:
            target[name] = dict(target[name])
            target = target[name]
        # In its old place, so that an order that matters to a reader is kept.
        items = [(new if key == last else key, value) for key, value in target.items()]
        target.clear()
        target.update(items)
    return changed
