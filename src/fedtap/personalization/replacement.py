r"""How the personal model X adopts the federated parts of a task: a whole path when a gate says so, or a part of the way.

Hard: :math:`X[c] \leftarrow W[c]` for c on the path of each task for which the gate opens. Soft:
:math:`X[c] \leftarrow X[c] + a (W[c] - X[c])` with one a a task, that of :data:`FACTORS` that is best on the client's validation
split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from fedtap.components import ComponentState, towards
from fedtap.pairs import ComponentKey
from fedtap.personalization.decision import Decision
from fedtap.personalization.gates import margin_gate, paired_gate
from fedtap.personalization.guard import GUARD, unharmed, without_harm, worse
from fedtap.personalization.loss_history import LossHistory
from fedtap.training.client import LocalClient
from fedtap.training.model_selection import mean_ratio

FACTORS = (0.25, 0.5, 0.75, 1.0)
"""How far a soft replacement may go; staying where it is is always a choice."""

Gate: TypeAlias = Literal["margin", "validation", "paired"]
Scope = Callable[[str], frozenset[ComponentKey]]
"""The components that replacing a task may touch."""


def replace_hard(
    client: LocalClient,
    federated: ComponentState,
    personal: ComponentState,
    *,
    gate: Gate,
    margins: Mapping[str, float],
    alpha: float,
    scope: Scope,
    history: LossHistory | None,
    guarded: bool = False,
    verdicts: int = 0,
) -> tuple[ComponentState, list[Decision]]:
    """Replace task by task where the gate opens, all decisions taken on the models as they were before any replacement.

    Parameters
    ----------
    client
        The client at work.
    federated, personal
        W and X.
    gate
        ``margin`` compares mean losses of training, ``validation`` those on the validation split, without a margin, ``paired``
        the losses of the same validation examples under both models.
    margins
        Task -> margin, in nats, or MSE.
    alpha
        Level of the paired gate.
    scope
        What replacing a task touches.
    history
        What is known of the losses of W and of X, for the margin: a task of which one is not known is kept. None: both models are
        scored on the validation split, as the other gates always do.
    guarded
        Take what the gate lets in only where no task of the client is worse for it on validation.
    verdicts
        How many this client's validation split has given before; rules of the gates that ask it alone go on counting.
    """
    if gate == "margin" and history is not None:
        decisions = [_by_history(task, history, margins[task], client.round) for task in client.tasks]
    else:
        theirs, mine = client.judged_examples(federated), client.judged_examples(personal)
        decisions = []
        for task in client.tasks:
            f, p = float(theirs[task].mean()), float(mine[task].mean())
            if gate == "paired":
                better, p_value = paired_gate(theirs[task], mine[task], alpha)
                verdicts += 1
                rule = (
                    f"paired: p = {p_value:.3g}, alpha = {alpha:g}{client.by_judge}; verdict {verdicts} on this split"
                )
            elif gate == "validation":
                verdicts += 1
                better = margin_gate(f, p, 0.0)
                rule = f"validation: margin 0{client.by_judge}; verdict {verdicts} on this split"
            else:
                better, rule = margin_gate(f, p, margins[task]), f"margin {client.on_validation}: {margins[task]:g}"
            decisions.append(_hard(task, better, finite(f), finite(p), rule))
    wanted = [decision.task for decision in decisions if decision.outcome == "replaced"]
    if guarded and wanted:
        reached = client.judged(personal)
        personal, tried = without_harm(
            client, before=personal, after=federated, tasks=wanted, scope=scope, reached=reached
        )
        refused = {task for task, (accepted, _) in tried.items() if not accepted}
        return personal, [
            each
            if each.task not in tried
            else replace(each, outcome="kept", rule=f"{each.rule}; {worse(client)}")
            if each.task in refused
            else replace(each, rule=f"{each.rule}; {unharmed(client)}")
            for each in decisions
        ]
    for task in wanted:
        personal = personal.merge(federated.slice(scope(task)))
    return personal, decisions


def verdicts_of(decisions: Sequence[Decision]) -> int:
    """Return how often these decisions asked the validation split: once for a gate that does, once for the guard of adoption."""
    return sum(("verdict " in each.rule) + (GUARD in each.rule) for each in decisions)


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
    before = client.judged(personal)
    goal = client.judged(federated)
    best = 1.0
    decisions: list[Decision] = []
    for task in client.tasks:
        start, chosen = personal, 0.0
        keys = scope(task)
        for factor in sorted(factors):
            trial = towards(start, federated, dict.fromkeys(keys, factor))
            score = mean_ratio(client.judged(trial), before)
            if score < best:
                best, chosen, personal = score, factor, trial
        outcome = "kept" if chosen == 0 else "replaced" if chosen == 1 else "mixed"
        rule = f"soft: {chosen:g} of the way, chosen {client.on_validation}"
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


def _by_history(task: str, history: LossHistory, margin: float, round_number: int) -> Decision:
    f, p = history.federated.get(task), history.personal.get(task)
    if f is None:
        return _hard(task, False, f, p, "kept: no federated loss yet")
    if p is None:
        return _hard(task, False, f, p, "kept: no personal loss yet")
    return _hard(task, margin_gate(f, p, margin), f, p, f"margin: {margin:g}{history.note(task, round_number)}")


def _hard(task: str, better: bool, federated: float | None, personal: float | None, rule: str) -> Decision:
    return Decision(task, "replace", "replaced" if better else "kept", federated, personal, rule)


def finite(value: float) -> float | None:
    """Return a loss for a decision, or nothing where it is no number."""
    return value if math.isfinite(value) else None
