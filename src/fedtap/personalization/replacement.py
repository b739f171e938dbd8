r"""How the personal model X adopts the federated parts of a task: a whole path when a gate says so, or a part of the way.

Hard: :math:`X[c] \leftarrow W[c]` for c on the path of each task for which the gate opens. Soft:
:math:`X[c] \leftarrow X[c] + a (W[c] - X[c])` with one a a task, that of :data:`FACTORS` that is best on the client's validation
split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from fedtap.components import ComponentState, towards
from fedtap.pairs import ComponentKey
from fedtap.personalization.decision import Decision
from fedtap.personalization.gates import margin_gate, paired_gate
from fedtap.training.client import LocalClient
from fedtap.training.model_selection import mean_ratio

FACTORS = (0.25, 0.5, 0.75, 1.0)
"""How far a soft replacement may go; staying where it is is always a choice."""

Scope = Callable[[str], frozenset[ComponentKey]]
"""The components that replacing a task may touch."""


def replace_hard(
    client: LocalClient,
    federated: ComponentState,
    personal: ComponentState,
    *,
    gate: Literal["margin", "paired"],
    margins: Mapping[str, float],
    alpha: float,
    scope: Scope,
    losses: tuple[Mapping[str, float], Mapping[str, float]] | None,
) -> tuple[ComponentState, list[Decision]]:
    """Replace task by task where the gate opens, all decisions taken on the models as they were before any replacement.

    Parameters
    ----------
    client
        The client at work.
    federated, personal
        W and X.
    gate
        ``margin`` compares mean losses, ``paired`` the losses of the same validation examples under both models.
    margins
        Task -> margin, in nats, or MSE.
    alpha
        Level of the paired gate.
    scope
        What replacing a task touches.
    losses
        Mean losses of W and of X by task, for the margin; a task without one of X is replaced (the first participation). None:
        both models are scored on the validation split.
    """
    scored = losses is None
    if losses is None or (gate == "paired" and losses[1]):
        theirs, mine = client.example_losses(federated), client.example_losses(personal)
        means = {task: float(values.mean()) for task, values in theirs.items()}
        losses = (means, {task: float(values.mean()) for task, values in mine.items()})
    decisions: list[Decision] = []
    for task in client.tasks:
        f, p = losses[0].get(task, math.inf), losses[1].get(task, math.inf)
        if math.isinf(p):
            better, rule = True, "first participation"
        elif gate == "paired":
            better, p_value = paired_gate(theirs[task], mine[task], alpha)
            rule = f"paired: p = {p_value:.3g}, alpha = {alpha:g}"
        else:
            better = margin_gate(f, p, margins[task])
            rule = f"margin{' on validation' if scored else ''}: {margins[task]:g}"
        outcome = "replaced" if better else "kept"
        decisions.append(Decision(task, "replace", outcome, _finite(f), _finite(p), rule))
    for decision in decisions:
        if decision.outcome == "replaced":
            personal = personal.merge(federated.slice(scope(decision.task)))
    return personal, decisions


def replace_soft(
    client: LocalClient,
    federated: ComponentState,
    personal: ComponentState,
    *,
    scope: Scope,
    factors: Sequence[float] = FACTORS,
) -> tuple[ComponentState, list[Decision]]:
    """Move the personal model towards the federated one, task by task, each by the factor that is best on validation.

    Tasks share components, so each trial is judged on all tasks of the client: by the mean over tasks of the loss relative to
    that before any move. A draw is decided for the smaller move.
    """
    before = client.mean_losses(personal)
    goal = client.mean_losses(federated)
    best = 1.0
    decisions: list[Decision] = []
    for task in client.tasks:
        start, chosen = personal, 0.0
        keys = scope(task)
        for factor in sorted(factors):
            trial = towards(start, federated, dict.fromkeys(keys, factor))
            score = mean_ratio(client.mean_losses(trial), before)
            if score < best:
                best, chosen, personal = score, factor, trial
        outcome = "kept" if chosen == 0 else "replaced" if chosen == 1 else "mixed"
        rule = f"soft: {chosen:g} of the way, chosen on validation"
        decisions.append(Decision(task, "replace", outcome, goal[task], before[task], rule))
    return personal, decisions


def keep_personal(
    client: LocalClient, tuned: ComponentState, personal: ComponentState, *, scope: Scope
) -> tuple[ComponentState, list[Decision]]:
    """Return the fine-tuned slice, moved back towards the personal model where that is better on validation.

    The decisions are of the second stage: what is personal was kept, to what extent, or reverted to the fine-tuned slice.
    """
    mixed, moves = replace_soft(client, personal, tuned, scope=scope)
    decisions = [
        Decision(
            move.task,
            "distil",
            "reverted" if move.outcome == "kept" else "kept",
            move.personal_loss,
            move.federated_loss,
            move.rule.replace("soft:", "mix:").replace("of the way", "of the way from the fine-tuned slice"),
        )
        for move in moves
    ]
    return mixed, decisions


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
