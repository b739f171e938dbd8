"""The guard of distillation: what it changed is kept only where no task of the client is worse for it on validation."""

from __future__ import annotations

from fedtap.components import ComponentState
from fedtap.personalization.decision import Decision
from fedtap.training.client import LocalClient


def guard(
    client: LocalClient, *, before: ComponentState, after: ComponentState
) -> tuple[ComponentState, list[Decision]]:
    """Return the distilled model, or as much of it as leaves no task worse on the client's validation split.

    The whole is tried first; if a task is worse, the paths are tried one after another in the order of the client's tasks, each
    on top of those kept. Tasks share components, so each trial is judged on ALL tasks: the kept model's validation loss is at
    most that of ``before`` on every task, by the method's judge.
    """
    reached = client.judged(before)
    first = dict(reached)
    whole = client.judged(after)
    if all(whole[task] <= reached[task] for task in client.tasks):
        return after, [
            Decision(
                task, "distil", "kept", whole[task], first[task], f"guard: no task is worse {client.on_validation}"
            )
            for task in client.tasks
        ]
    kept = before
    decisions: list[Decision] = []
    for task in client.tasks:
        trial = kept.merge(after.slice(client.path(task)))
        losses = client.judged(trial)
        accepted = all(losses[other] <= reached[other] for other in client.tasks)
        if accepted:
            kept, reached = trial, losses
        worse = f"a task would be worse {client.on_validation}"
        rule = "guard: " + ("this path leaves no task worse" if accepted else worse)
        decisions.append(Decision(task, "distil", "kept" if accepted else "reverted", losses[task], first[task], rule))
    return kept, decisions
