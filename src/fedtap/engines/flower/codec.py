"""Requests and replies as Flower's records, one array record a component. Not here: when they are sent (transport).

A record named ``fedtap`` says what a message is about; the others hold what it carries. Decoding trusts nothing: whatever is
wrong with a message is a :class:`MalformedError`, and whether its values make sense is for :mod:`fedtap.federation.validation`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.engines.flower.arrays import record_of, tensors_of
from fedtap.engines.flower.malformed import MalformedError
from fedtap.federation.messages import KINDS, Reply, Request
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
    about = _config(content, ABOUT)
    kind = _of(about, "kind", str)
    if kind not in KINDS:
        raise MalformedError(f"a request of kind {kind[:40]!r}")
    client, number = _of(about, "client", str), _of(about, "round", int)
    request = Request(client, number, kind, _components(content), _secure(content))
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


def decode_reply(content: RecordDict, kind: str) -> tuple[Reply, Envelope]:
    """Return a reply to a request of some kind, and what stood on it; raises :class:`MalformedError`."""
    about = _config(content, ABOUT)
    if WHY in about:
        raise MalformedError(_of(about, WHY, str)[:MAX_LINE])
    if _of(about, "kind", str) != kind:
        raise MalformedError(f"an answer of kind {_of(about, 'kind', str)[:40]!r}, asked was {kind!r}")
    update = Update(
        components=_components(content),
        counts=cast(
            "Mapping[ComponentKey, int]",
            {ComponentKey.parse(key): value for key, value in _metrics(content, COUNTS).items()},
        ),
        losses=_metrics(content, LOSSES),
        personal_losses=_metrics(content, PERSONAL_LOSSES),
        decisions=[_decision(each) for each in _json_list(content, DECISIONS)],
        vectors=tensors_of(content[VECTORS], "vectors") if VECTORS in content else {},
    )
    reply = Reply(
        _of(about, "client", str),
        _of(about, "round", int),
        update,
        _of(about, "seconds", float),
        _of(about, "steps", int),
        _secure(content),
    )
    return reply, _envelope(about)


def encode_rows(client: str, round_number: int, rows: list[dict[str, Any]], envelope: Envelope) -> RecordDict:
    """Return the results of a client's models as records; values that are not finite have no place in them."""
    content = RecordDict({ABOUT: _about(envelope, client, round_number, "evaluate")})
    content[ROWS] = ConfigRecord({"json": json.dumps(rows)})
    return content


def decode_rows(content: RecordDict) -> tuple[list[Any], str, int, Envelope]:
    """Return rows, client, round and what stood on the message; raises :class:`MalformedError`."""
    about = _config(content, ABOUT)
    if WHY in about:
        raise MalformedError(_of(about, WHY, str)[:MAX_LINE])
    return _json_list(content, ROWS), _of(about, "client", str), _of(about, "round", int), _envelope(about)


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
    return _envelope(_config(content, ABOUT))


def decode_hello(content: RecordDict) -> tuple[str, dict[str, int], int, Envelope]:
    """Return client, examples, newest round and what stood on the answer to a greeting; raises :class:`MalformedError`."""
    about = _config(content, ABOUT)
    if WHY in about:
        raise MalformedError(_of(about, WHY, str)[:MAX_LINE])
    examples = _metrics(content, COUNTS)
    for task, number in examples.items():
        if type(number) is not int:
            raise MalformedError(f"the examples of task {task[:40]!r} are no whole number")
    return _of(about, "client", str), cast("dict[str, int]", examples), _of(about, "round", int), _envelope(about)


def encode_failure(why: str, envelope: Envelope) -> RecordDict:
    """Return one line on why there is no answer."""
    about = _about(envelope, "", 0, "failure")
    about[WHY] = " ".join(why.split())[:MAX_LINE]
    return RecordDict({ABOUT: about})


def _about(envelope: Envelope, client: str, round_number: int, kind: str) -> ConfigRecord:
    stamped = {**asdict(envelope), "time_left": float(envelope.time_left)}
    return ConfigRecord({**stamped, "client": client, "round": round_number, "kind": kind})


def _envelope(about: ConfigRecord) -> Envelope:
    time_left = _of(about, "time_left", float)
    if not math.isfinite(time_left) or time_left < 0:
        raise MalformedError("the time left is no number of seconds")
    return Envelope(_of(about, "version", str), _of(about, "federation", str), time_left)


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


def _metrics(content: RecordDict, name: str) -> dict[str, Any]:
    record = content.get(name)
    if not isinstance(record, MetricRecord):
        raise MalformedError(f"there is no record '{name}'")
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


def _components(content: RecordDict) -> ComponentState:
    return ComponentState(
        {
            ComponentKey.parse(name.removeprefix(COMPONENT)): tensors_of(record, f"'{name.removeprefix(COMPONENT)}'")
            for name, record in content.items()
            if name.startswith(COMPONENT)
        }
    )
