r"""Personal heads without a step: what a head is linear in is set to the optimum of the client's own training loss.

.. math:: w_{head} \leftarrow \arg\min_w \; f_i(w) + \mu \|w - w_{head}\|^2

in closed form, with the mu of :data:`STRENGTHS` that is best on the client's validation split; a head that no mu makes better
stays as it is. Today that concerns picture heads (squared error, :mod:`fedtap.tasks.sketch_fit`). Heads fitted to a client's own
data on features that are shared are FedRep's and FedPer's idea; that the last layer of a squared error needs no gradient steps is
old.
"""

from __future__ import annotations

from fedtap.components import ComponentState
from fedtap.personalization.decision import Decision
from fedtap.training.client import LocalClient
from fedtap.training.model_selection import mean_ratio

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Pulls towards the head as it was, as multiples of the mean curvature; the strongest first, which a draw is decided for."""


def refit_heads(client: LocalClient, state: ComponentState) -> tuple[ComponentState, list[Decision]]:
    """Return the model with each head that has a closed form refitted, and what was decided for each task that uses one."""
    decisions: list[Decision] = []
    for head in dict.fromkeys(pair.head for pair in client.pairs):
        tasks = [pair.task for pair in client.pairs if pair.head == head]
        before: dict[str, float] = {}
        for strength, trial in zip(STRENGTHS, client.refitted(state, head, STRENGTHS), strict=False):
            if not before:  # the head has a closed form: what has none is not worth a pass over validation
                before = after = client.judged(state, tasks=tasks)
                best, kept, outcome, rule = 1.0, state, "reverted", f"refit: no pull is better {client.on_validation}"
            losses = client.judged(trial, tasks=tasks)
            score = mean_ratio(losses, before)
            if score < best:
                best, kept, after = score, trial, losses
                outcome, rule = "kept", f"refit: pull {strength:g}, chosen {client.on_validation}"
        if before:
            state = kept
            decisions += [Decision(task, "distil", outcome, after[task], before[task], rule) for task in tasks]
    return state, decisions
