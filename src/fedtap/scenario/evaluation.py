"""How the models of a run are tested, and which of them are kept."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from fedtap.runtime.errors import nearest
from fedtap.scenario.settings import Count, Positive, Sparing

TEXT_METRICS = ("meteor", "bertscore")
"""What generated texts may be scored by beside the metrics that are always given."""
CLASS_METRICS = ("balanced_accuracy", "auroc")
"""What classifiers may be scored by beside the metrics that are always given."""


class EvaluationSettings(Sparing):
    """How models are tested.

    ``cross_examples`` bounds the cross-client test of a client's task; ``save`` says which models are written. ``text_metrics``
    are of :data:`TEXT_METRICS`, ``class_metrics`` of :data:`CLASS_METRICS`; ``bertscore_encoder`` is ``minilm-l6``, a folder that
    ``save_pretrained`` wrote, or the name of a model in the hub's cache on this machine.
    ``validation_every`` is after how many rounds each client that takes part scores, on its own validation data, the model that
    it has just trained and its personal one; the last round counts too, and 0 is never. The metrics are those of the tests, and
    no result changes. It goes with no setting of the section ``privacy``, and not with Flower.
    """

    unsaid: ClassVar[frozenset[str]] = frozenset({"validation_every"})

    cross_examples: Positive = 256
    save: Literal["deployed", "all", "none"] = "deployed"
    text_metrics: tuple[str, ...] = ()
    class_metrics: tuple[str, ...] = ()
    bertscore_encoder: Annotated[str, Field(min_length=1)] = "minilm-l6"
    validation_every: Count = 0

    @field_validator("text_metrics", "class_metrics", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        """Take ``text_metrics: meteor`` as short for a list of one."""
        return (value,) if isinstance(value, str) else value

    @field_validator("text_metrics", "class_metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = TEXT_METRICS if info.field_name == "text_metrics" else CLASS_METRICS
        for name in value:
            if name not in known:
                raise ValueError(f"unknown metric '{name}'; {nearest(name, known)}")
            if value.count(name) > 1:
                raise ValueError(f"'{name}' stands twice; name it once")
        return value

    def validates(self, round_number: int, rounds: int) -> bool:
        """Tell whether models are scored on validation data in a round, of so many.

        >>> [number for number in range(1, 8) if EvaluationSettings(validation_every=3).validates(number, 7)]
        [3, 6, 7]
        """
        every = self.validation_every
        return every > 0 and (round_number % every == 0 or round_number == rounds)
