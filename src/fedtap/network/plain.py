"""The plain architecture: encoders, ONE fusion transformer that all tasks share, heads. No experts, no paths.

It is what most federated fine-tuning assumes: a trunk that all clients hold, and heads by task. Methods can thus be judged off
the ground that TAP's network of experts was built for. Its trunk has the layers of one path of the network of experts (two stacks
of L), seeded and adapted alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedtap.network.experts import Experts
from fedtap.pairs import SHARED, STACKS, ComponentKey, Modality, Pair, Route

_TRUNK = Route("plain", False, SHARED, (SHARED, SHARED), SHARED, (SHARED, SHARED))


class Plain(Experts):
    """One shared fusion transformer without experts."""

    name = "plain"

    def routes(self, modality: Modality, family: str) -> tuple[Route, ...]:
        """Return the only path there is."""
        return (_TRUNK,)

    def path(self, pairs: Iterable[Pair], task: str) -> frozenset[ComponentKey]:
        """Return the encoders, the trunk and the head of a task.

        Raises
        ------
        KeyError
            If no pair has that task.
        """
        found = [pair for pair in pairs if pair.task == task]
        if not found:
            raise KeyError(task)
        keys = {ComponentKey("attention", (stack, SHARED)) for stack in STACKS}
        keys |= {ComponentKey("expert", (stack, SHARED, SHARED)) for stack in STACKS}
        for pair in found:
            keys |= {ComponentKey("encoder", (part,)) for part in pair.parts}
            keys.add(ComponentKey("head", (pair.head,)))
        return frozenset(keys)
