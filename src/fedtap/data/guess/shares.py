"""Shares of the splits that leave nobody without, where there are few examples: a split goes by content, and luck decides."""

from __future__ import annotations

from collections.abc import Sequence

from fedtap.data.reading import Found, fixed_splits
from fedtap.data.sources import source
from fedtap.data.splits import SPLITS, assign
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario

Shares = tuple[float, float, float]
TRIED: Sequence[Shares] = (
    (0.6, 0.15, 0.25),
    (0.5, 0.2, 0.3),
    (0.5, 0.25, 0.25),
    (0.6, 0.2, 0.2),
    (0.4, 0.3, 0.3),
    (0.4, 0.2, 0.4),
    (0.5, 0.3, 0.2),
    (0.34, 0.33, 0.33),
)
"""The default first, then what is near it."""
FEW = 200
"""With more examples no part is ever empty."""


def shares_for_all(scenario: Scenario) -> Shares | None:
    """Return the first shares by which each task of each client has something to train, validate and test with.

    None if there are none, or data cannot be read: checking the scenario says which and why.
    """
    try:
        found: Found = {
            (client.id, task.name): source(task.source).examples(task, scenario.folder)
            for client in scenario.clients
            for task in client.tasks
        }
    except UserError:
        return None
    if all(len(examples) > FEW for examples in found.values()):
        return TRIED[0]
    for shares in TRIED:
        fixed = fixed_splits(found, shares)
        parts = ({assign(example, shares, fixed) for example in examples} for examples in found.values())
        if all(len(part) == len(SPLITS) for part in parts):
            return shares
    return None
