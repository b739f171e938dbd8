"""What a client says beside its tensors, as strict models: type, length, number, range and count of each field, before any use.

Not here: whether it fits what was asked (validation, result_validation), and the words of secure aggregation (secure.messages).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

HUGE = 10**15  # no count of anything here comes near it
MAX_TEXT = 200  # characters of a decision's words
MAX_DECISIONS = 1_000
MAX_ENTRIES = 10_000  # counts or losses of one reply
MAX_LOSS = 1e6  # nats, or mean squared error; a model with such a loss has long been useless
MAX_SECONDS = 1e9  # some thirty years
MAX_NAME = 64
MAX_N = 10**12
MAX_ROUND = 2_000_000  # of a scenario there are a million at the most, and two answers more
MAX_TASKS = 1_000  # of one client


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _number(value: Any) -> Any:
    # strict mode takes for a float whatever turns itself into one, NumPy's whole numbers among them
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return value


Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_plain)]
Name = Annotated[str, Field(min_length=1, max_length=2 * MAX_NAME), AfterValidator(_plain)]
# Both kinds of loss are at least zero; a sum in floating point may fall short of it by its rounding.
Loss = Annotated[Number, Field(ge=-1e-3, le=MAX_LOSS)]


class Strict(BaseModel):
    """Nothing passes for something else, and nothing is said beside."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AboutWords(Strict):
    """What stands on every message, whoever sent it; the name of the client is empty where nobody has said who it is."""

    version: Text
    federation: Text
    time_left: Annotated[Number, Field(ge=0, le=MAX_SECONDS)]
    client: Annotated[str, Field(max_length=2 * MAX_NAME), AfterValidator(_plain)]
    round: Annotated[int, Field(ge=0, le=MAX_ROUND)]
    kind: Text
    seconds: Annotated[Number, Field(ge=0, le=MAX_SECONDS)] = 0.0
    steps: Annotated[int, Field(ge=0, le=HUGE)] = 0
    why: str | None = None


class HelloWords(Strict):
    """A client's card: who it is, its training examples by task, and the round of its newest private state."""

    client: Name
    examples: Annotated[dict[Name, Annotated[int, Field(ge=0, le=MAX_N)]], Field(max_length=MAX_TASKS)]
    newest: Annotated[int, Field(ge=0, le=MAX_ROUND)]


class DecisionWords(Strict):
    """A decision for the event log; see :class:`fedtap.personalization.decision.Decision`."""

    task: Text
    kind: Text
    outcome: Text
    federated_loss: Loss | None
    personal_loss: Loss | None
    rule: Text


class ReplyWords(Strict):
    """All of a :class:`fedtap.federation.messages.Reply` but its tensors."""

    counts: Annotated[dict[str, Annotated[int, Field(ge=0, le=HUGE)]], Field(max_length=MAX_ENTRIES)]
    losses: Annotated[dict[str, Loss], Field(max_length=MAX_ENTRIES)]
    personal_losses: Annotated[dict[str, Loss], Field(max_length=MAX_ENTRIES)]
    decisions: Annotated[list[DecisionWords], Field(max_length=MAX_DECISIONS)]
    seconds: Annotated[Number, Field(ge=0, le=MAX_SECONDS)]
    steps: Annotated[int, Field(ge=0, le=HUGE)]


class ResultRow(Strict):
    """A row of results.json; no value: the client's model has diverged."""

    client: Name
    task: Name
    family: Name
    model: Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_plain)]
    split: Name
    metric: Name
    value: Number | None
    n: Annotated[int, Field(ge=1, le=MAX_N)]


Model = TypeVar("Model", bound=BaseModel)


def required(model: type[Model], values: Any) -> Model:
    """Return values as a model.

    Raises
    ------
    ValueError
        Whatever is wrong with them, in one short line that repeats nothing of them.
    """
    try:
        return model.model_validate(values)
    except FAULTS as error:
        place = ascii(".".join(map(str, _place(error))))[1:-1]
    raise ValueError(f"no such thing can stand at '{place[:MAX_NAME]}'" if place else "no such thing can stand there")


def fault(model: type[BaseModel], values: Mapping[str, Any]) -> tuple[str | int, ...] | None:
    """Return the place of the first thing that is wrong with values, or None if they are sound."""
    try:
        model.model_validate(values)
    except FAULTS as error:
        return _place(error)
    return None


FAULTS = (ValidationError, OverflowError, RecursionError, TypeError, ValueError)
"""What pydantic, and what it calls, raise at values that are not those of a model."""


def _place(error: BaseException) -> tuple[str | int, ...]:
    if isinstance(error, ValidationError):
        return tuple(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"])
    return ("",)
