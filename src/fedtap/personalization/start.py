r"""Where local training starts: each task from the received path, or from the received trunk under the client's own last head.

.. math::
    W_{head(o)} \leftarrow X_{head(o)} \;\text{ iff }\;
    \overline{f^{val}_o(W[head \leftarrow X]) / f^{val}_o(W)} < 1

with the mean over the client's tasks that share the head, nearly always one; or only where a paired test on the same examples is
confident of it, so that a few validation examples do not make alike clients part by chance. Always the own head is FedPer, never
is FedAvg; here each client says so itself, task by task, in each of its rounds. Not here: what becomes of X (replacement, parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fedtap.components import ComponentKey, ComponentState
from fedtap.personalization.decision import Decision
from fedtap.personalization.gates import paired_gate
from fedtap.personalization.replacement import finite
from fedtap.training.client import LocalClient
from fedtap.training.model_selection import mean_ratio


def chosen_start(
    client: LocalClient, received: ComponentState, personal: ComponentState, *, alpha: float | None = None
) -> tuple[ComponentState, list[Decision]]:
    """Return the received model under those of the client's own heads that are better on validation, and what was decided.

    Heads do not touch each other's tasks, so all are tried at once. Of equals the received one is taken. A decision says "kept"
    where the own head was.

    Parameters
    ----------
    client
        The client at work.
    received, personal
        What the server sent, and the model that has the client's own heads.
    alpha
        The level of the test that an own head has to pass (:func:`fedtap.personalization.gates.paired_gate`); None: it has
        to be better, by whatever.
    """
    heads = {task: frozenset(key for key in client.path(task) if key.kind == "head") for task in client.tasks}
    own = received.merge(personal.slice(frozenset[ComponentKey]().union(*heads.values())))
    theirs, mine = client.judged_examples(received), client.judged_examples(own)
    received_mean, own_mean = ({task: float(each.mean()) for task, each in it.items()} for it in (theirs, mine))
    start = received
    decisions: list[Decision] = []
    for task, keys in heads.items():
        sharing = [other for other, its in heads.items() if its == keys]
        said = f"the better {client.on_validation}"
        if alpha is None:
            better = mean_ratio({o: own_mean[o] for o in sharing}, {o: received_mean[o] for o in sharing}) < 1
        else:
            asked, instead = (torch.cat([each[other] for other in sharing]) for each in (mine, theirs))
            better, p = paired_gate(asked, instead, alpha)
            said = f"the own is better {client.on_validation} with p = {p:.3g}, alpha = {alpha:g}"
        better = better and bool(keys)
        if better:
            start = start.merge(own.slice(keys))
        rule = f"start: {'own' if better else 'received'} head, {said}"
        outcome = "kept" if better else "replaced"
        decisions.append(Decision(task, "replace", outcome, finite(received_mean[task]), finite(own_mean[task]), rule))
    return start, decisions


def with_start(decisions: Sequence[Decision], starts: Sequence[Decision]) -> list[Decision]:
    """Return the decisions of a round whose rules say what each task started from; the starts alone, if there are none."""
    said = {each.task: each.rule for each in starts}
    if not decisions:
        return list(starts)
    return [replace(each, rule=f"{each.rule}; {said[each.task]}") if said else each for each in decisions]
