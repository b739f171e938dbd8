"""What a report reads of a run's files, as typed models: a folder may be a stranger's, and a seal does not say who made it.

What stands in the files beyond this is passed over, or shown as the text it is. Not here: whether files are whole (manifest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from fedtap.pairs import Modality, TaskName
from fedtap.runtime.errors import UserError
from fedtap.runtime.text import one_line

MAX_ROUND = 2_000_000
MAX_ROWS = 5_000_000
MAX_CLIENTS = 200_000
MAX = 1e100  # what is summed or squared stays a float


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be a number")
    return value


Number = Annotated[float, BeforeValidator(_number), Field(ge=-MAX, le=MAX, allow_inf_nan=False)]
Amount = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e18, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=10**15)]
Round = Annotated[int, Field(ge=0, le=MAX_ROUND)]
Name = Annotated[str, Field(max_length=500)]
Text = Annotated[str, Field(max_length=100_000)]
Losses = Annotated[dict[Name, Number | None], Field(max_length=10_000)]
Task = Annotated[list[Name], Field(min_length=2, max_length=2)]
"""A client, and the name of a task of its."""
Row = Mapping[str, Any]


class _Told(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class TaskTold(_Told):
    """A task of a client."""

    name: Name
    type: TaskName
    modality: Modality
    domain: Name
    head: Name | None = None


class ClientTold(_Told):
    """A client of the resolved scenario."""

    id: Name
    unseen: bool = False
    tasks: list[TaskTold]


class ConfigTold(_Told):
    """The resolved scenario."""

    name: Text = ""
    about: Text | None = ""
    rounds: Round = 0
    clients_per_round: Whole = 0
    clients: Annotated[list[ClientTold], Field(max_length=MAX_CLIENTS)] = []


class ExtensionTold(BaseModel):
    """More rounds that a finished run was given."""

    model_config = ConfigDict(strict=True, extra="allow", populate_by_name=True)

    rounds: Annotated[Round, Field(alias="from")]
    to: Round
    clients: Annotated[list[Name], Field(max_length=MAX_CLIENTS)] = []
    same_schedule: bool = True


class RunTold(_Told):
    """run.json."""

    method: Name = "?"
    seed: int | None = None
    scenario: Text | None = None
    fedtap: Name | None = None
    config: ConfigTold = ConfigTold()
    environment: dict[Name, Any] | None = None
    extended: Annotated[list[ExtensionTold], Field(max_length=1_000)] = []


class RowTold(_Told):
    """A row of results.json."""

    client: Name
    task: Name
    family: Name = ""
    model: Name
    split: Name
    metric: Name
    value: Number | None
    n: Whole | None = None


class PhaseTold(_Told):
    """Seconds of a phase."""

    seconds: Amount = 0.0


class CostTold(_Told):
    """cost.json."""

    seconds: Amount | None = None
    peak_rss_bytes: Amount | None = None
    bytes_down: Amount | None = None
    bytes_up: Amount | None = None
    steps_total: Amount | None = None
    by_phase: dict[Name, Amount | PhaseTold] | None = None


class WholeCostTold(_Told):
    """What a comparison takes of cost.json, all of it."""

    seconds: Amount
    peak_rss_bytes: Amount
    bytes_down: Amount
    bytes_up: Amount
    steps_total: Amount


class NoiseTold(_Told):
    """What one kind of noise is worth."""

    epsilon: Annotated[dict[Name, Amount], Field(max_length=MAX_CLIENTS)]
    clip: Amount
    noise: Amount


class PrivacyTold(_Told):
    """The part of results.json on privacy."""

    delta: Amount
    noise_source: Name
    central: NoiseTold | None = None
    local: NoiseTold | None = None


class _Event(_Told):
    event: Name
    round: Round | None = None
    client: Name | None = None
    node: Name | None = None
    time: Number | None = None
    why: Text | None = None


class _InRound(_Event):
    round: Round


class _OfClient(_InRound):
    client: Name


class UpdateTold(_OfClient):
    """A client's update, or its last model."""

    losses: Losses | None = None
    personal_losses: Losses | None = None
    bytes_down: Amount | None = None
    bytes_up: Amount | None = None
    steps: Whole | None = None


class DecisionTold(_OfClient):
    """What became of a task's path."""

    task: Name
    kind: Literal["replace", "distil", "mix", "refit"]
    outcome: Name
    federated_loss: Number | None = None
    personal_loss: Number | None = None
    rule: Text | None = None


class ValidationTold(_OfClient):
    """What a client's models score on its validation data."""

    rows: Annotated[list[RowTold], Field(max_length=100_000)]


class TimedTold(_InRound):
    """The beginning or end of a round."""

    time: Number


class BoundedTold(_OfClient):
    """A change beyond a bound."""

    norm: Amount
    bound: Amount
    worst: Name
    components: Whole


class RobustTold(_Event):
    """What a robust mean could do."""

    rule: Name
    components: Whole = 0
    too_few_holders: Whole = 0
    unproven: Whole = 0


class SecureTold(_Event):
    """What the server saw of a round."""

    summed: Whole
    not_restored: Whole
    too_few_holders: Whole
    few: Name


class UnchangedTold(_Event):
    """A round without enough replies."""

    replies: Whole
    min_replies: Whole


class DataTold(_Event):
    """Where a client's data fall short."""

    client: Name
    lines: list[Text]


class NoteTold(_Event):
    """What is to be known of the data."""

    text: Text
    about: list[Task] = []


class SkippedTold(_Told):
    """Examples that cannot be read."""

    event: Name
    about: Annotated[list[Task], Field(min_length=1)]
    examples: Whole
    why: Annotated[list[Text], Field(min_length=1)]


EVENTS: Mapping[str, type[_Told]] = {
    "data": DataTold,
    "note": NoteTold,
    "skipped": SkippedTold,
    "update": UpdateTold,
    "personalised": UpdateTold,
    "decision": DecisionTold,
    "validation": ValidationTold,
    "round_started": TimedTold,
    "round_finished": TimedTold,
    "clipped": BoundedTold,
    "left_out": BoundedTold,
    "robust_mean": RobustTold,
    "secure": SecureTold,
    "unchanged": UnchangedTold,
}
_ROWS: TypeAdapter[list[RowTold]] = TypeAdapter(Annotated[list[RowTold], Field(max_length=MAX_ROWS)])
_MEND = "restore it from a copy"


def check_told(kind: type[BaseModel], value: Any, place: Path) -> None:
    """Refuse, with a :class:`UserError` that names the key, what is not what a run writes there."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{place}: {_first(error)}; {_MEND}") from error


def checked_rows(value: Any, place: Path) -> Sequence[Row]:
    """Return the rows of results.json as they are; raises :class:`UserError` if one is not what a run writes."""
    rows = value.get("rows") if isinstance(value, dict) else None
    try:
        _ROWS.validate_python(rows)
    except ValidationError as error:
        raise UserError(f"{place}: rows: {_first(error)}; {_MEND}") from error
    assert isinstance(rows, list)
    return rows


def check_events(events: Sequence[Mapping[str, Any]], place: Path, first: int = 1) -> None:
    """Refuse, with a :class:`UserError` that names the line, an event that is not what a run writes; they begin at ``first``."""
    for line, event in enumerate(events, start=first):
        try:
            EVENTS.get(event["event"], _Event).model_validate(event)
        except ValidationError as error:
            raise UserError(f"{place}: line {line}: {_first(error)}; {_MEND}") from error


def _first(error: ValidationError) -> str:
    """Return what is wrong first, and where, in a few words."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    return one_line(f"'{where}': {found['msg']}" if where else found["msg"], 200)
