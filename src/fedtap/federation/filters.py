"""What becomes of a round's accepted updates before the method averages them, and what is told of it.

Not here: whether a single reply is sound (validation), and the means themselves (aggregation/robust_means).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from fedtap.aggregation.robust_means import FEWEST, fewest_proven
from fedtap.algorithms.base import Update
from fedtap.components import ComponentState
from fedtap.federation.norm_bound import bounded
from fedtap.federation.wire import unpack
from fedtap.privacy.central import noised
from fedtap.scenario.safety import CentralSettings, DefenceSettings, Weights, WirePrecision

SPENT = "private_steps"
"""The vector of an update that tells of its private steps: their number, and the probability of an example in each."""
Note = dict[str, Any]
"""An event without its round."""


def restore_values(update: Update, sent: ComponentState, precision: WirePrecision) -> Update:
    """Return an update as values: what came as changes, in fewer bits, is added to what the server holds of the client's slice.

    The client added them up on what it had read; the server's own values lost nothing on the way.
    """
    if precision == "fp32":
        return update
    changes = unpack(update.components, precision)
    return replace(update, components=sent.select(lambda key, _: key in changes).zip(torch.add, changes))


def take_private_steps(updates: Mapping[str, Update], steps: Mapping[str, int]) -> tuple[dict[str, Update], list[Note]]:
    """Return the updates without what clients tell of their private steps, and that as the event ``private_steps``.

    ``steps`` is how many steps of any kind each client took. A client that tells nothing sensible is taken to have spent all of
    them on all of its examples: it may overstate its loss of privacy, never its privacy.
    """
    kept: dict[str, Update] = {}
    notes: list[Note] = []
    for client, update in updates.items():
        told = update.vectors.get(SPENT, torch.empty(0)).tolist()
        sound = len(told) == 2 and 0 <= told[0] <= steps[client] and told[0] == int(told[0]) and 0 < told[1] <= 1
        number, rate = (int(told[0]), told[1]) if sound else (steps[client], 1.0)
        kept[client] = replace(update, vectors={})
        notes.append({"event": "private_steps", "client": client, "steps": number, "rate": rate})
    return kept, notes


def apply_defence(
    updates: Mapping[str, Update], sent: Mapping[str, ComponentState], settings: DefenceSettings
) -> tuple[dict[str, Update], list[Note]]:
    """Return the updates within the bounds that are set, and the events ``clipped``, ``left_out`` and ``robust_mean``."""
    kept, notes = dict(updates), []
    if settings.norm_bound is not None or settings.norm_ratio is not None:
        kept, found = bounded(updates, sent, settings)
        what = {"clip": "clipped", "refuse": "left_out"}[settings.excess]
        notes += [
            {
                "event": what,
                "client": excess.client,
                "components": excess.components,
                "worst": str(excess.worst),
                "norm": excess.norm,
                "bound": excess.bound,
            }
            for excess in found
        ]
        kept = {client: update for client, update in kept.items() if update.components or update.vectors}
    if settings.mean != "weighted":
        holders = Counter(key for update in kept.values() for key in update.components if update.counts[key] > 0)
        few = sum(number < FEWEST for number in holders.values())
        proven = fewest_proven(settings)
        notes.append(
            {
                "event": "robust_mean",
                "rule": settings.mean,
                "components": len(holders) - few,
                "too_few_holders": few,
                "unproven": sum(FEWEST <= number < proven for number in holders.values()),
            }
        )
    return kept, notes


def weigh_holders(
    updates: Mapping[str, Update],
    weights: Weights,
    examples: Mapping[str, int],
    chances: Mapping[str, float] | None = None,
) -> dict[str, Update]:
    """Return the updates with the counts by which their components are averaged: as they came, all a client's examples, or one.

    With one weight for all its components a client descends an objective of its own, and with ``client`` and all clients in every
    round their mean is that of all examples (docs/theory.md, "Weights by examples"). What a client has no example of stays so.
    Who is drawn by a chance of its own weighs 1 / chance as much, in thousandths, since it is there so much more often.
    """
    if weights == "component" and chances is None:
        return dict(updates)
    weighed = {}
    for client, update in updates.items():
        each = {"component": None, "client": examples[client], "uniform": 1}[weights]
        counts = {key: count if each is None else min(count, 1) * each for key, count in update.counts.items()}
        if chances is not None:
            counts = {key: round(1000 * count / chances[client]) for key, count in counts.items()}
        weighed[client] = replace(update, counts=counts)
    return weighed


def add_central_noise(
    updates: Mapping[str, Update],
    sent: Mapping[str, ComponentState],
    current: ComponentState,
    settings: CentralSettings,
    *,
    most: int,
    generator: torch.Generator,
) -> dict[str, Update]:
    """Return, in place of each update, the round's noised mean of its components, and nothing else of it (:func:`noised`)."""
    trained = {client: update.components for client, update in updates.items()}
    means = noised(trained, sent, current, settings, most=most, generator=generator)
    return {client: Update(mean, dict.fromkeys(mean, 1)) for client, mean in means.items()}
