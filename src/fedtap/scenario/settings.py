"""What the sections of a scenario are made of: the frozen base, checked numbers, and names. Not here: the sections (scenario)."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


def _no_switch(value: Any) -> Any:
    """Refuse ``true`` and ``yes`` where a number belongs; they would pass for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not on or off")
    return value


Int = Annotated[int, BeforeValidator(_no_switch)]
Float = Annotated[float, BeforeValidator(_no_switch), Field(allow_inf_nan=False)]
Positive = Annotated[Int, Field(gt=0)]
MANY = 100_000
Many = Annotated[Int, Field(gt=0, le=MANY)]
"""Of what there may be many, and each takes memory before anything is trained: clients, classes."""
Width = Annotated[Int, Field(gt=0, le=65_536)]
"""A size of a matrix: memory goes by its square."""
Depth = Annotated[Int, Field(gt=0, le=1_000)]
"""How many layers."""
Rounds = Annotated[Int, Field(gt=0, le=1_000_000)]
Count = Annotated[Int, Field(ge=0)]
Rate = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
OnUnreadable = Literal["refuse", "skip"]
"""What becomes of an example that cannot be read: the run is refused, or the example left out, counted and named."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What may name a file or a folder: a client, a task, a domain, a head."""


class Settings(BaseModel):
    """A frozen section that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sparing(Settings):
    """A section that writes some of its keys down only where they are given.

    They came later than the others: a run or a model that does without them, or has what they are anyway, is described, and so
    identified, as it was before.
    """

    unsaid: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _only_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        usual = {key: type(self).model_fields[key].default for key in self.unsaid}
        return {key: value for key, value in told.items() if key not in usual or value != usual[key]}


def read_as(value: Any) -> str:
    """Say what YAML has made of a word that was to be text: ``yes`` is true to it, and ``1`` a number.

    >>> read_as(True), read_as(1)
    ('read as true', 'read as 1')
    """
    return f"read as {json.dumps(value, default=str)}"
