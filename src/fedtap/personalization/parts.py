r"""Adoption by part and by trial: of each task's path the personal model takes the trunk, the head, all or nothing.

.. math::
    X \leftarrow \arg\min_{S \in \{\emptyset, head, trunk, path\}} \;
    \overline{f^{val}_o(X[c] \leftarrow W[c], c \in S) / f^{val}_o(X)}, \quad \text{task by task}

with the mean over ALL tasks of the client, since tasks share components: what replacing a structure does is found by the loss
before and after it. Always nothing is local training; always the trunk is a shared body under a private head (FedPer); always the
path is the federated model. Not here: the gates, which compare the two whole models and never score what comes of it.
"""

from __future__ import annotations

from fedtap.components import ComponentKey, ComponentState
from fedtap.personalization.decision import Decision
from fedtap.personalization.replacement import Scope, finite
from fedtap.training.client import LocalClient
from fedtap.training.model_selection import mean_ratio

PARTS = ("nothing", "head", "trunk", "path")
"""What may be taken; of equals the first."""


def replace_parts(
    client: LocalClient, federated: ComponentState, personal: ComponentState, *, scope: Scope
) -> tuple[ComponentState, list[Decision]]:
    """Return the personal model after each task has taken the part that is best on validation, and what was decided.

    Tasks come in the client's order, each on top of what those before it took.
    """
    before = client.judged(personal)
    theirs = client.judged(federated)
    reached = 1.0
    decisions: list[Decision] = []
    for task in client.tasks:
        keys = scope(task)
        start, taken = personal, PARTS[0]
        for part in PARTS[1:]:
            trial = start.merge(federated.slice(key for key in keys if _belongs(key, part)))
            score = mean_ratio(client.judged(trial), before)
            if score < reached:
                reached, personal, taken = score, trial, part
        outcome = {"nothing": "kept", "path": "replaced"}.get(taken, "mixed")
        rule = f"parts: {taken}, best by trial {client.on_validation}"
        decisions.append(Decision(task, "replace", outcome, finite(theirs[task]), finite(before[task]), rule))
    return personal, decisions


def _belongs(key: ComponentKey, part: str) -> bool:
    return part == "path" or (key.kind == "head") == (part == "head")
