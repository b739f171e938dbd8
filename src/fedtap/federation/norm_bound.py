"""A bound on how far one client's update may move each component. Pure: updates in, updates and what was done out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedtap.aggregation.norms import change_norms, scale_change
from fedtap.aggregation.robust_means import FEWEST
from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.scenario.safety import DefenceSettings


@dataclass(frozen=True, slots=True)
class Excess:
    """A client's changes that exceeded a bound: how many components, and the norm and bound of the worst by their ratio."""

    client: str
    components: int
    worst: ComponentKey
    norm: float
    bound: float


def bounded(
    updates: Mapping[str, Update], sent: Mapping[str, ComponentState], settings: DefenceSettings
) -> tuple[dict[str, Update], list[Excess]]:
    r"""Return the updates with every component's change within its bound, and whose was not.

    With :math:`\Delta = w - w_{sent}`, what exceeds the bound b becomes :math:`w_{sent} + \Delta \, b / \|\Delta\|` (``clip``),
    or the client is no holder of the component in this round (``refuse``).

    Parameters
    ----------
    updates
        The round's updates, by client.
    sent
        What each of these clients was sent.
    settings
        ``norm_bound``, ``norm_ratio`` and ``excess``.
    """
    norms = {client: change_norms(update.components, sent[client]) for client, update in updates.items()}
    bounds = bounds_of(norms, settings)
    kept: dict[str, Update] = {}
    found: list[Excess] = []
    for client, update in updates.items():
        over = {key: norm for key, norm in norms[client].items() if norm > bounds[key]}
        kept[client] = update
        if not over:
            continue
        if settings.excess == "clip":
            scaled = {
                key: scale_change(update.components[key], sent[client][key], bounds[key] / norm)
                for key, norm in over.items()
            }
            kept[client] = replace(update, components=update.components.merge(ComponentState(scaled)))
        else:
            kept[client] = without(update, frozenset(over))
        worst = max(sorted(over), key=lambda key: over[key] / bounds[key] if bounds[key] else math.inf)
        found.append(Excess(client, len(over), worst, over[worst], bounds[worst]))
    return kept, found


def bounds_of(
    norms: Mapping[str, Mapping[ComponentKey, float]], settings: DefenceSettings
) -> dict[ComponentKey, float]:
    """Return the bound of each component that anybody changed; infinite where there is none.

    The relative bound needs three clients: among two, either could set the other's.
    """
    bounds: dict[ComponentKey, float] = {}
    for key in frozenset().union(*norms.values()):
        theirs = [held[key] for held in norms.values() if key in held]
        bound = math.inf if settings.norm_bound is None else settings.norm_bound
        if settings.norm_ratio is not None and len(theirs) >= FEWEST:
            bound = min(bound, settings.norm_ratio * statistics.median(theirs))
        bounds[key] = bound
    return bounds


def without(update: Update, keys: frozenset[ComponentKey]) -> Update:
    """Return an update without some components."""
    return replace(
        update,
        components=update.components.select(lambda key, _: key not in keys),
        counts={key: count for key, count in update.counts.items() if key not in keys},
    )
