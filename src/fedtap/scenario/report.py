"""Sections ``report`` and ``tracking``: how a run is told. They change no result, and a run may be resumed with others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fedtap.scenario.settings import Int, Settings

MOST_EXAMPLES = 24
Tracker = Literal["tensorboard", "mlflow", "wandb"]


class ReportSettings(Settings):
    """How a run is told.

    ``examples`` is how many test examples of each client's task the report shows with what every model answered; 0: none. They
    are drawn by the run's seed. With any setting of the section ``privacy`` there are none, whatever stands here.
    """

    examples: Annotated[Int, Field(ge=0, le=MOST_EXAMPLES)] = 4


class TrackingSettings(Settings):
    """Which trackers are told of a run, as it goes on (docs/tracking.md).

    ``trackers`` names them; ``tracking: [tensorboard, mlflow]`` is short for that. ``project`` is what runs that belong together
    have in common, MLflow's experiment and the project of Weights & Biases; the scenario's name by default. With ``offline``
    nothing leaves this machine. Where servers are, and who may write to them, variables of the environment tell the trackers, as
    they know them. `--track` on the command line goes before ``trackers``. Nothing of this changes a result, and `fedtap compare`
    and `fedtap sweep` track nothing.
    """

    trackers: tuple[Tracker, ...] = ()
    project: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    offline: bool = False

    @model_validator(mode="before")
    @classmethod
    def _trackers_alone(cls, value: Any) -> Any:
        """Take ``tracking: [tensorboard]`` and ``tracking: tensorboard`` as short for its trackers."""
        if isinstance(value, str):
            value = [name.strip() for name in value.split(",")]
        return {"trackers": value} if isinstance(value, list) else value

    @field_validator("project")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable() or set(value) & set("/\\#?%:")):
            raise ValueError("must be one line without / \\ # ? % and :, which trackers do not take in a name")
        return value
