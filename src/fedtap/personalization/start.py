r"""Where local training starts: each task from the received path, or from the received trunk under the client's own last head.

.. math::
    W_{head(o)} \leftarrow X_{head(o)} \;\text{ iff }\;
    \overline{f^{val}_o(W[head \leftarrow X]) / f^{val}_o(W)} < 1 - m

with the mean over the client's tasks that share the head, nearly always one, and m a margin of relative loss, so that a few
validation examples do not part alike clients by chance. Always the own head is FedPer, never is FedAvg; here each client says so
itself, task by task, in each of its rounds. Not here: what becomes of X (replacement, parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedtap.components import ComponentKey, ComponentState
from fedtap.personalization.decision import Decision
from fedtap.personalization.replacement import finite
from fedtap.training.client import LocalClient
from fedtap.training.model_selection import mean_ratio


def chosen_start(
    client: LocalClient, received: ComponentState, personal: ComponentState, *, margin: float = 0.0
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
    margin
        By which share of the received head's loss an own head has to be better.
    """
    heads = {task: frozenset(key for key in client.path(task) if key.kind == "head") for task in client.tasks}
    own = received.merge(personal.slice(frozenset[ComponentKey]().union(*heads.values())))
    theirs, mine = client.judged(received), client.judged(own)
    start = received
    decisions: list[Decision] = []
    by = f" by {margin:.0%}" if margin else ""
    for task, keys in heads.items():
        sharing = [other for other, its in heads.items() if its == keys]
        better = bool(keys) and mean_ratio({o: mine[o] for o in sharing}, {o: theirs[o] for o in sharing}) < 1 - margin
        if better:
            start = start.merge(own.slice(keys))
        rule = f"start: {'own' if better else 'received'} head, the better{by} {client.on_validation}"
        outcome = "kept" if better else "replaced"
        decisions.append(Decision(task, "replace", outcome, finite(theirs[task]), finite(mine[task]), rule))
    return start, decisions


def with_start(decisions: Sequence[Decision], starts: Sequence[Decision]) -> list[Decision]:
    """Return the decisions of a round whose rules say what each task started from; the starts alone, if there are none."""
    said = {each.task: each.rule for each in starts}
    if not decisions:
        return list(starts)
    return [replace(each, rule=f"{each.rule}; {said[each.task]}") if said else each for each in decisions]
