"""Requests and replies as Flower's records, one array record a component. Not here: when they are sent (transport).

A record named ``fedtap`` says what a message is about; the others hold what it carries. Decoding trusts nothing: whatever is
wrong with a message is a :class:`MalformedError`, and whether its values make sense is for :mod:`fedtap.federation.validation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from flwr.app import ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.engines.flower.arrays import UNASKED, described, record_of, tensors_of
from fedtap.engines.flower.bounds import VECTOR_ROOM, Asked, Room
from fedtap.engines.flower.malformed import MalformedError
from fedtap.federation.messages import KINDS, Reply, Request
from fedtap.federation.words import MAX_DECISIONS, MAX_ENTRIES, MAX_TEXT, AboutWords, HelloWords, fault
from fedtap.personalization.decision import Decision

ABOUT = "fedtap"
COMPONENT = "component:"
COUNTS, LOSSES, PERSONAL_LOSSES, VECTORS, DECISIONS, ROWS, SECURE, WHY = (
    "counts",
    "losses",
    "personal_losses",
    "vectors",
    "decisions",
    "rows",
    "secure",
    "why",
)
MAX_JSON = 4_000_000  # characters of decisions or rows
MAX_LINE = 1_000  # characters of a line on what went wrong
MAX_KEY = 1_000  # characters of a component's name, or of a task's
MAX_HEADERS = 16_000_000  # bytes of all descriptions of a request, whose components a node does not know before


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands on every message beside its content.

    Parameters
    ----------
    version
        Of fedtap, on the side that wrote it.
    federation
        Names one run of one federation, so that private states of two are never mixed up.
    time_left
        Seconds after which nobody waits for the answer any more; 0 where there is no limit.
    """

    version: str
    federation: str
    time_left: float = 0.0


def encode_request(request: Request, envelope: Envelope) -> RecordDict:
    """Return a request as records."""
    content = RecordDict({ABOUT: _about(envelope, request.client, request.round, request.kind)})
    _put_components(content, request.components)
    _put_secure(content, request.secure)
    return content


def decode_request(content: RecordDict) -> tuple[Request, Envelope]:
    """Return a request and what stood on it; raises :class:`MalformedError`."""
    about = _about_of(content)
    if about.kind not in KINDS:
        raise MalformedError(f"a request of kind {about.kind[:40]!r}")
    _check_records(content, {ABOUT, SECURE}, None)
    request = Request(about.client, about.round, about.kind, _components(content, None), _secure(content))
    return request, _envelope(about)


def encode_reply(reply: Reply, kind: str, envelope: Envelope) -> RecordDict:
    """Return a reply to a request of some kind as records."""
    about = _about(envelope, reply.client, reply.round, kind)
    about["seconds"], about["steps"] = float(reply.seconds), reply.steps
    update = reply.update
    content = RecordDict({ABOUT: about})
    _put_components(content, update.components)
    _put_secure(content, reply.secure)
    content[COUNTS] = MetricRecord({str(key): count for key, count in update.counts.items()})
    content[LOSSES] = MetricRecord(dict(update.losses))
    content[PERSONAL_LOSSES] = MetricRecord(dict(update.personal_losses))
    content[VECTORS] = record_of(update.vectors)
    content[DECISIONS] = ConfigRecord({"json": json.dumps([asdict(decision) for decision in update.decisions])})
    return content


def decode_reply(content: RecordDict, asked: Asked) -> tuple[Reply, Envelope]:
    """Return a reply, and what stood on it; raises :class:`MalformedError` if it is not of the form that was asked for."""
    about = _about_of(content)
    if about.kind != asked.kind:
        raise MalformedError(f"an answer of kind {about.kind[:40]!r}, asked was {asked.kind!r}")
    _check_records(content, {ABOUT, COUNTS, LOSSES, PERSONAL_LOSSES, VECTORS, DECISIONS, SECURE}, asked)
    decisions = _json_list(content, DECISIONS)
    if len(decisions) > MAX_DECISIONS:
        raise MalformedError(f"{len(decisions)} decisions; {MAX_DECISIONS} at the most")
    update = Update(
        components=_components(content, asked),
        counts=cast(
            "Mapping[ComponentKey, int]",
            {ComponentKey.parse(key): value for key, value in _metrics(content, COUNTS, len(asked.rooms)).items()},
        ),
        losses=_metrics(content, LOSSES),
        personal_losses=_metrics(content, PERSONAL_LOSSES),
        decisions=[_decision(each) for each in decisions],
        vectors=tensors_of(content[VECTORS], "vectors", VECTOR_ROOM) if VECTORS in content else {},
    )
    reply = Reply(about.client, about.round, update, about.seconds, about.steps, _secure(content))
    return reply, _envelope(about)


def encode_rows(client: str, round_number: int, rows: list[dict[str, Any]], envelope: Envelope) -> RecordDict:
    """Return the results of a client's models as records; values that are not finite have no place in them."""
    content = RecordDict({ABOUT: _about(envelope, client, round_number, "evaluate")})
    content[ROWS] = ConfigRecord({"json": json.dumps(rows)})
    return content


def decode_rows(content: RecordDict) -> tuple[list[Any], str, int, Envelope]:
    """Return rows, client, round and what stood on the message; raises :class:`MalformedError`."""
    about = _about_of(content)
    _check_records(content, {ABOUT, ROWS}, None)
    return _json_list(content, ROWS), about.client, about.round, _envelope(about)


def encode_hello(
    envelope: Envelope, client: str = "", examples: Mapping[str, int] | None = None, newest: int = 0
) -> RecordDict:
    """Return a greeting, or the answer to one: a client, its training examples per task, the round of its newest state."""
    content = RecordDict({ABOUT: _about(envelope, client, newest, "hello")})
    if examples is not None:
        content[COUNTS] = MetricRecord(dict(examples))
    return content


def decode_greeting(content: RecordDict) -> Envelope:
    """Return what stands on a greeting; raises :class:`MalformedError`."""
    return _envelope(_about_of(content))


def decode_hello(content: RecordDict) -> tuple[HelloWords, Envelope]:
    """Return a client's card and what stood on the answer to a greeting; raises :class:`MalformedError`."""
    about = _about_of(content)
    _check_records(content, {ABOUT, COUNTS}, None)
    told = {"client": about.client, "examples": _metrics(content, COUNTS), "newest": about.round}
    place = fault(HelloWords, told)
    if place is not None:
        what = "the examples of a task are no sensible whole number" if place[0] == "examples" else "it names no client"
        raise MalformedError(f"no sound answer to a greeting: {what}")
    return HelloWords.model_validate(told), _envelope(about)


def encode_failure(why: str, envelope: Envelope) -> RecordDict:
    """Return one line on why there is no answer."""
    about = _about(envelope, "", 0, "failure")
    about[WHY] = " ".join(why.split())[:MAX_LINE]
    return RecordDict({ABOUT: about})


def _about(envelope: Envelope, client: str, round_number: int, kind: str) -> ConfigRecord:
    stamped = {**asdict(envelope), "time_left": float(envelope.time_left)}
    return ConfigRecord({**stamped, "client": client, "round": round_number, "kind": kind})


def _about_of(content: RecordDict) -> AboutWords:
    """Return what stands on a message; raises :class:`MalformedError` with the sender's own line where it says that it failed."""
    told = dict(_config(content, ABOUT))
    place = fault(AboutWords, told)
    if place is not None:
        raise MalformedError(f"'{str(place[0])[:40] if place else ''}' of the message is missing, or not as agreed on")
    about = AboutWords.model_validate(told)
    if about.why is not None:
        raise MalformedError(about.why[:MAX_LINE])
    return about


def _envelope(about: AboutWords) -> Envelope:
    return Envelope(about.version, about.federation, about.time_left)


def _check_records(content: RecordDict, known: set[str], asked: Asked | None) -> None:
    """Refuse records that nobody asked for, and more components than were asked for, before any of them is looked into."""
    most = len(known) + (MAX_ENTRIES if asked is None else len(asked.rooms))
    if len(content) > most:
        raise MalformedError(f"{len(content)} records; {most} at the most")
    components = asked is not None or SECURE in known  # a request has them too
    for name in content:
        if name not in known and not (components and name.startswith(COMPONENT) and len(name) <= MAX_KEY):
            raise MalformedError(f"a record {name[:MAX_TEXT]!r}, which nobody asked for")


def _config(content: RecordDict, name: str) -> ConfigRecord:
    record = content.get(name)
    if not isinstance(record, ConfigRecord):
        raise MalformedError(f"there is no record '{name}'")
    return record


def _of(record: ConfigRecord, name: str, kind: type[Any]) -> Any:
    value = record.get(name)
    if type(value) is not kind:
        raise MalformedError(f"'{name}' is missing, or no {kind.__name__}")
    return value


def _metrics(content: RecordDict, name: str, most: int = MAX_ENTRIES) -> dict[str, Any]:
    record = content.get(name)
    if not isinstance(record, MetricRecord):
        raise MalformedError(f"there is no record '{name}'")
    if len(record) > most:
        raise MalformedError(f"'{name}' has {len(record)} entries; {most} at the most")
    if any(len(key) > MAX_KEY for key in record):
        raise MalformedError(f"'{name}' has a name of more than {MAX_KEY} characters")
    return dict(record)


def _json_list(content: RecordDict, name: str) -> list[Any]:
    text = _of(_config(content, name), "json", str)
    if len(text) > MAX_JSON:
        raise MalformedError(f"'{name}' is {len(text)} characters long; {MAX_JSON} at the most")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"'{name}' is no JSON") from error
    if not isinstance(found, list):
        raise MalformedError(f"'{name}' is no list")
    return found


def _decision(value: Any) -> Decision:
    fields = set(Decision.__dataclass_fields__)
    if not isinstance(value, dict) or value.keys() != fields:
        raise MalformedError(f"a decision without exactly {', '.join(sorted(fields))}")
    return Decision(**value)


def _put_secure(content: RecordDict, words: str) -> None:
    if words:
        content[SECURE] = ConfigRecord({"json": words})


def _secure(content: RecordDict) -> str:
    return str(_of(_config(content, SECURE), "json", str)) if SECURE in content else ""


def _put_components(content: RecordDict, components: ComponentState) -> None:
    for key, named in components.items():
        content[f"{COMPONENT}{key}"] = record_of(named)


def _components(content: RecordDict, asked: Asked | None) -> ComponentState:
    """Return the components of a message; each has the room of the one that was asked for, or all share a request's."""
    found: dict[ComponentKey, dict[str, Tensor]] = {}
    left = MAX_HEADERS
    for name, record in content.items():
        if not name.startswith(COMPONENT):
            continue
        text = name.removeprefix(COMPONENT)
        key = ComponentKey.parse(text)
        room: Room | None = Room(min(UNASKED.header, left)) if asked is None else asked.rooms.get(key)
        if room is None:
            raise MalformedError(f"component '{text[:MAX_TEXT]}', which nobody asked for")
        found[key] = tensors_of(record, f"'{text[:MAX_TEXT]}'", room)
        left -= described(record) if asked is None else 0
    return ComponentState(found)
