"""Which of a client's finished models each of its tasks uses: the best on validation. The models stay whole; nothing is mixed."""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.components import ComponentState
from fedtap.personalization.decision import Decision
from fedtap.personalization.replacement import finite
from fedtap.training.client import LocalClient


def choose_by_task(
    client: LocalClient, models: Mapping[str, ComponentState], *, personal: str = "personal"
) -> tuple[dict[str, str], list[Decision]]:
    """Return for each task the name of the model that is best on the client's validation split, and what was decided.

    Parameters
    ----------
    client
        The client at work.
    models
        The models by name; of equals the first is chosen.
    personal
        The name of the one that never left the client. A decision says "kept" where a task uses it, and compares it with the best
        of the others.
    """
    judged = {name: client.judged(model) for name, model in models.items()}
    shared = [name for name in models if name != personal]
    chosen: dict[str, str] = {}
    decisions: list[Decision] = []
    for task in client.tasks:
        chosen[task] = min(models, key=lambda name: judged[name][task])
        outcome = "kept" if chosen[task] == personal else "reverted"
        rule = f"choice: {chosen[task]}, best of {', '.join(models)} {client.on_validation}"
        best = min(judged[name][task] for name in shared)
        decisions.append(Decision(task, "distil", outcome, finite(best), finite(judged[personal][task]), rule))
    return chosen, decisions
