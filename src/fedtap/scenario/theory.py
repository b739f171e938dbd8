"""The section of a scenario on what is measured of the theorem's constants in a run. Not here: the theorem (docs/theory.md)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from fedtap.scenario.safety import PrivacySettings
from fedtap.scenario.settings import Count, Int, Positive, Settings


class TheorySettings(Settings):
    """What a run measures of itself with ``theory: on``; its results are the same, to the last byte, as without.

    At ``looks`` moments, evenly from before the first round to after the last, every client that trains takes gradients of the
    federated model on at most ``examples`` training examples of each of its tasks, and ``curvature`` gradients of one batch
    near it, from which a lower estimate of L is made. None of them counts as a step; what they cost is in the log.
    With ``losses`` the mean loss of each task over all training examples is taken too, exactly.
    """

    looks: Annotated[Int, Field(ge=2)] = 3
    examples: Positive = 96
    curvature: Count = 3
    losses: bool = False

    def clash(self, privacy: PrivacySettings) -> str | None:
        """Return what does not go together, and the mend, or None."""
        if privacy.noised or privacy.secure is not None:
            return "theory: on takes exact gradients of single clients, which the section privacy keeps; remove one of the two"
        return None

    def moments(self, rounds: int) -> frozenset[int]:
        """Return after which rounds it is measured; 0 is before the first.

        >>> sorted(TheorySettings().moments(30)), sorted(TheorySettings(looks=9).moments(2))
        ([0, 15, 30], [0, 1, 2])
        """
        return frozenset(round(look * rounds / (self.looks - 1)) for look in range(self.looks))


def _switch(value: Any) -> Any:
    """Take ``theory: on`` for the section with its defaults, and ``off`` for none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


Theory: TypeAlias = Annotated[TheorySettings | None, BeforeValidator(_switch)]
