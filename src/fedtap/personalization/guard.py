"""The guard: what distillation, or a gate, would change is kept only where no task of the client is worse on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.personalization.decision import Decision
from fedtap.training.client import LocalClient

GUARD = "guard: "
"""How the rules of its decisions begin."""


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
            Decision(task, "distil", "kept", whole[task], first[task], unharmed(client)) for task in client.tasks
        ]
    kept, tried = without_harm(
        client, before=before, after=after, tasks=client.tasks, scope=client.path, reached=reached
    )
    decisions = []
    for task, (accepted, loss) in tried.items():
        rule = f"{GUARD}this path leaves no task worse" if accepted else worse(client)
        decisions.append(Decision(task, "distil", "kept" if accepted else "reverted", loss, first[task], rule))
    return kept, decisions


def worse(client: LocalClient) -> str:
    """Return the rule by which something was not taken."""
    return f"{GUARD}a task would be worse {client.on_validation}"


def unharmed(client: LocalClient) -> str:
    """Return the rule by which something was."""
    return f"{GUARD}no task is worse {client.on_validation}"


def without_harm(
    client: LocalClient,
    *,
    before: ComponentState,
    after: ComponentState,
    tasks: Iterable[str],
    scope: Callable[[str], frozenset[ComponentKey]],
    reached: Mapping[str, float],
) -> tuple[ComponentState, dict[str, tuple[bool, float]]]:
    """Return ``before`` with what belongs to these tasks from ``after``, one after another, where no task's loss rises by it.

    ``reached`` is what the method's judge says of ``before``, of all tasks. With the state comes, for each task that was tried,
    whether it was taken, and its loss in the trial.
    """
    kept, tried = before, {}
    for task in tasks:
        trial = kept.merge(after.slice(scope(task)))
        losses = client.judged(trial)
        accepted = all(losses[other] <= reached[other] for other in client.tasks)
        if accepted:
            kept, reached = trial, losses
        tried[task] = accepted, losses[task]
    return kept, tried
