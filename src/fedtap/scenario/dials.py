"""How much clients contradict each other, as dials of section ``data``. Not here: what a dial does to an example (data/dials)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fedtap.scenario.settings import Fraction, Settings

PictureShift = Literal["as_is", "invert", "rotate", "tint", "noise", "blur"]
TextShift = Literal["as_is", "vocabulary", "length"]


class ConflictSettings(Settings):
    """Clients who call things by other names than the others do.

    ``clients`` is the share of a shared head's clients that are in conflict, ``classes`` the share of its classes that each of
    them has exchanged among each other, in an order of its own. ``tasks`` are the names of the tasks that it is about; none:
    every classification whose head several clients share.
    """

    clients: Fraction
    classes: Fraction = 1.0
    tasks: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        """Take a number as the share of the clients."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"clients": value} if is_number else value


class ShiftSettings(Settings):
    """Clients whose inputs look or read otherwise: one kind of ``pictures`` and of ``texts`` for each, dealt in turn."""

    pictures: Annotated[tuple[PictureShift, ...], Field(min_length=1)] = ("as_is",)
    texts: Annotated[tuple[TextShift, ...], Field(min_length=1)] = ("as_is",)

    @field_validator("pictures", "texts", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        """Take one kind as a list of it."""
        return [value] if isinstance(value, str) else value
