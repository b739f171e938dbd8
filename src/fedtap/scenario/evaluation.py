"""How the models of a run are tested, and which of them are kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from fedtap.runtime.errors import nearest
from fedtap.scenario.settings import Positive, Settings

TEXT_METRICS = ("meteor", "bertscore")
"""What generated texts may be scored by beside the metrics that are always given."""
CLASS_METRICS = ("balanced_accuracy", "auroc")
"""What classifiers may be scored by beside the metrics that are always given."""


class EvaluationSettings(Settings):
    """How models are tested.

    ``cross_examples`` bounds the cross-client test of a client's task; ``save`` says which models are written. ``text_metrics``
    are of :data:`TEXT_METRICS`, ``class_metrics`` of :data:`CLASS_METRICS`; ``bertscore_encoder`` is ``minilm-l6``, a folder that
    ``save_pretrained`` wrote, or the name of a model in the hub's cache on this machine.
    """

    cross_examples: Positive = 256
    save: Literal["deployed", "all", "none"] = "deployed"
    text_metrics: tuple[str, ...] = ()
    class_metrics: tuple[str, ...] = ()
    bertscore_encoder: Annotated[str, Field(min_length=1)] = "minilm-l6"

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
