"""What a site asks of a run before it takes part: ``policy`` of node.yaml, and the account of what its data have spent.

A server chooses a run's settings, its noise too, and could leave it away. A node looks at them before each answer, and keeps its
own account of private steps over all runs, so that many short runs, or a round that is asked for again, spend one budget.
Against code that a server sends this is no defence: see docs/threat-model.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fedtap.privacy.accounting import epsilon
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json, write_sealed_json
from fedtap.scenario.safety import PrivacySettings
from fedtap.scenario.settings import Count, Float, Fraction, Positive, Rate, Settings

LEDGER = "spent.json"
_OF = {"what": "private steps"}


class Policy(Settings):
    """What a run must be like for a node to take part; by default anything goes.

    ``noise``: ``privacy.local`` with at least this multiple of the clipping norm, drawn in secret. ``epsilon``: the most that all
    runs together may spend of one training example, at ``delta``; it asks for ``privacy.local`` too. ``secure``: secure
    aggregation with at least so many holders, and what has fewer withheld. ``blur_counts``: numbers of examples told in
    multiples of at least this. ``results: false``: metrics on the node's test data stay on the node.
    """

    noise: Rate | None = None
    epsilon: Rate | None = None
    delta: Annotated[Float, Field(gt=0, lt=1)] = 1e-5
    secure: Positive | None = None
    blur_counts: Positive | None = None
    results: bool = True

    def complaint(self, privacy: PrivacySettings) -> str | None:
        """Return in one line which condition a run's settings do not meet, and the mend, or None."""
        if self.blur_counts is not None and (privacy.blur_counts or 1) < self.blur_counts:
            return f"asks for numbers of examples in multiples of {self.blur_counts}; set privacy.blur_counts at the server"
        secure = privacy.secure
        if self.secure is not None and (secure is None or secure.holders < self.secure or secure.few != "withhold"):
            return (
                f"asks for secure aggregation alone, of {self.secure} holders or more; set privacy.secure.holders={self.secure} "
                "and privacy.secure.few=withhold at the server"
            )
        if self.noise is None and self.epsilon is None:
            return None
        if privacy.local is None:
            return "asks for noise on what it uploads, and the run has none; set privacy.local at the server"
        if privacy.noise_source != "secret":
            return "asks for noise that nobody can repeat; set privacy.noise_source=secret at the server"
        if self.noise is not None and privacy.local.noise < self.noise:
            return f"asks for privacy.local.noise of at least {self.noise:g}, and the run has {privacy.local.noise:g}"
        return None


class Spent(Settings):
    """Private steps that a node has taken, or begun, for one request."""

    run: str
    round: Count
    noise: Rate
    rate: Fraction
    steps: Count


class Ledger:
    """The account of a node's private steps, over all runs; a file of JSON beside its private states.

    It is written before the steps are taken: what crashes context-way has been paid for, and may be asked for again.
    """

    def __init__(self, store: Path) -> None:
        self.path = store / LEDGER

    def entries(self) -> list[Spent]:
        """Return what was spent so far, oldest first.

        Raises
        ------
        UserError
            If the file cannot be read: nothing more may be spent until it is restored.
        """
        if not self.path.exists():
            return []
        try:
            return [Spent.model_validate(entry) for entry in _listed(read_sealed_json(self.path, _OF))]
        except (UserError, ValueError) as error:  # pydantic's is a ValueError
            raise UserError(
                f"{self.path}: the account of private steps cannot be read; restore it from a copy, for without it nobody "
                "knows what may still be told of these data"
            ) from error

    def epsilon(self, delta: float, more: Sequence[Spent] = ()) -> float:
        """Return what all steps together, and ``more`` of them, are worth at ``delta``."""
        groups: dict[tuple[float, float], int] = {}
        for entry in [*self.entries(), *more]:
            groups[entry.noise, entry.rate] = groups.get((entry.noise, entry.rate), 0) + entry.steps
        return epsilon([(noise, rate, steps) for (noise, rate), steps in sorted(groups.items())], delta)

    def charge(self, entry: Spent, policy: Policy) -> None:
        """Take note of steps that are about to be taken.

        Raises
        ------
        UserError
            If they would go beyond ``policy.epsilon``; then nothing is noted, and they must not be taken.
        """
        if policy.epsilon is not None:
            after = self.epsilon(policy.delta, [entry])
            if after > policy.epsilon:
                raise UserError(
                    f"the node's budget is spent: with this round epsilon would be {after:.2f}, and node.yaml allows "
                    f"{policy.epsilon:g} (at delta {policy.delta:g}) over all runs"
                )
        self._write([*self.entries(), entry])

    def settle(self, steps: int) -> None:
        """Put the number of steps that were really taken in the last entry."""
        *before, last = self.entries()
        self._write([*before, last.model_copy(update={"steps": steps})])

    def _write(self, entries: Sequence[Spent]) -> None:
        write_sealed_json(self.path, {"steps": [entry.model_dump(mode="json") for entry in entries]}, _OF)


def _listed(content: Any) -> list[Any]:
    if not isinstance(content, dict) or not isinstance(content.get("steps"), list):
        raise ValueError("no list of steps")
    return list(content["steps"])
