r"""What a client remembers of the losses of its two models: :math:`h^f` and :math:`h^p` of the gate, task by task.

A training draws few batches, and a task may have no example in them. Its losses then stay what they were: a history is brought
up to date, never put in another's place. Where the personal model has had no loss of its own since it adopted the federated one
(its training had no example of the task, or no step), it is what it adopted, and the loss of that stands in:
:math:`h^p \leftarrow h^f`; where that too had none, the first federated loss after it. Not here: the gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedtap.personalization.decision import Decision


@dataclass(frozen=True, slots=True)
class LossHistory:
    """The last known mean training losses by task, in nats, or MSE.

    Parameters
    ----------
    federated
        Of the federated model at this client.
    personal
        Of the personal model.
    rounds
        The round of each federated loss.
    adopted
        The tasks whose personal loss is that of the model that was adopted.
    """

    federated: Mapping[str, float] = field(default_factory=dict)
    personal: Mapping[str, float] = field(default_factory=dict)
    rounds: Mapping[str, int] = field(default_factory=dict)
    adopted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> LossHistory:
        """Read a history from a client's facts; those of a state that was stored without one are unknown."""
        return cls(
            dict(facts.get("federated_losses", {})),
            dict(facts.get("personal_losses", {})),
            dict(facts.get("federated_rounds", {})),
            frozenset(facts.get("adopted", ())),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """The history as JSON-ready facts."""
        return {
            "federated_losses": dict(self.federated),
            "personal_losses": dict(self.personal),
            "federated_rounds": dict(self.rounds),
            "adopted": sorted(self.adopted),
        }

    def after_federated(self, losses: Mapping[str, float], round_number: int) -> LossHistory:
        """Return the history after a training of the federated model."""
        rounds = {**self.rounds, **dict.fromkeys(losses, round_number)}
        return replace(self, federated={**self.federated, **losses}, rounds=rounds)

    def after_replacement(self, decisions: Iterable[Decision]) -> LossHistory:
        """Return the history after tasks were decided on: what was replaced has the loss of what took its place."""
        decided = [d.task for d in decisions if d.outcome == "replaced" or d.task not in self.personal]
        stand_ins = {task: self.federated[task] for task in decided if task in self.federated}
        return replace(self, personal={**self.personal, **stand_ins}, adopted=self.adopted | frozenset(stand_ins))

    def after_personal(self, losses: Mapping[str, float]) -> LossHistory:
        """Return the history after a training of the personal model."""
        return replace(self, personal={**self.personal, **losses}, adopted=self.adopted - frozenset(losses))

    def note(self, task: str, round_number: int) -> str:
        """Return what is to be said of a task's losses beside the rule that compares them in a round; mostly nothing.

        >>> LossHistory({"a": 0.5}, {"a": 0.6}, {"a": 3}, frozenset({"a"})).note("a", 4)
        ', last known federated loss of round 3, personal loss of the model adopted'
        """
        known = self.rounds[task]
        old = "" if known == round_number else f", last known federated loss of round {known}"
        return old + (", personal loss of the model adopted" if task in self.adopted else "")
