"""Requests and replies survive Flower's records bit by bit, and nothing that is not of their form does any harm."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("flwr", reason="Flower needs Python 3.11")

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from safetensors.torch import load, save

from builders import CARDS, server, sound_reply
from fedtap.components import ComponentState
from fedtap.engines.flower import arrays, codec
from fedtap.engines.flower.arrays import DTYPES, ONLY, STYPE, record_of, tensors_of
from fedtap.engines.flower.bounds import Asked, Room
from fedtap.engines.flower.malformed import MalformedError
from fedtap.federation.messages import Reply
from fedtap.federation.wire import pack
from fedtap.federation.words import HelloWords
from fedtap.personalization.decision import Decision

ENVELOPE = codec.Envelope("0.1.0", "a" * 32, 12.5)
CARD = {card.id: card for card in CARDS}
ASKED = Asked.by(server().request("a", 3))


@pytest.mark.parametrize("dtype", sorted(DTYPES, key=str), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (2, 3)], ids=str)
def test_a_tensor_comes_back_with_the_same_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape, dtype=torch.float64) * 100).to(dtype)
    (back,) = tensors_of(record_of({"x": tensor}), "a record").values()
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


def test_tensors_that_share_memory_come_alone_and_are_one_object_on_the_way() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    record = record_of({"part": whole[1:3], "turned": whole.T[1:3], "whole": whole})
    assert len(record) == 1
    back = tensors_of(record, "a record")
    assert torch.equal(back["part"], whole[1:3])
    assert torch.equal(back["turned"], whole.T[1:3])
    back["part"].zero_()
    assert torch.equal(back["whole"], whole)
    assert len(record[ONLY].data) < 4 * (8 + 6 + 12) + 400


def test_what_does_not_travel_is_said() -> None:
    with pytest.raises(ValueError, match=r"x: a tensor of torch\.complex64 does not travel"):
        record_of({"x": torch.zeros(2, dtype=torch.complex64)})


SOUND = save({"x": torch.zeros(2)})


def claiming(**changes: Any) -> bytes:
    """Return what safetensors writes for two numbers, the description changed."""
    text = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * 8


def one(data: bytes, *, dtype: str = "uint8", length: int | None = None, stype: str = STYPE) -> ArrayRecord:
    return ArrayRecord({ONLY: Array(dtype, (len(data) if length is None else length,), stype, data)})


@pytest.mark.parametrize(
    "record",
    {
        "no record": 3,
        "empty": ArrayRecord({}),
        "another name": ArrayRecord({"x": Array("uint8", (len(SOUND),), STYPE, SOUND)}),
        "two": ArrayRecord({ONLY: one(SOUND)[ONLY], "x": one(SOUND)[ONLY]}),
        "short": one(SOUND[:-1]),
        "long": one(SOUND + b"1"),
        "nothing": one(b""),
        "no description": one(b"1234567890"),
        "a huge description": one((2**62).to_bytes(8, "little") + SOUND[8:]),
        "endless": one(claiming(shape=[10**15, 10**15])),
        "negative": one(claiming(shape=[-2])),
        "beyond its bytes": one(claiming(data_offsets=[0, 4000])),
        "backwards": one(claiming(data_offsets=[8, 0])),
        "objects": one(claiming(dtype="OBJECT")),
        "doubles": one(save({"x": torch.zeros(2, dtype=torch.float64)})),
        "many axes": one(claiming(shape=[1] * 8 + [2])),
        "another length": one(SOUND, length=3),
        "a negative length": one(SOUND, length=-1),
        "another dtype": one(SOUND, dtype="float32"),
        "another layout": one(SOUND, stype="numpy.ndarray"),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_record_that_lies_is_refused(record: tuple[str, object]) -> None:
    with pytest.raises(MalformedError) as told:
        tensors_of(record[1], "a record")
    assert "\n" not in str(told.value)


def test_the_claims_of_these_tests_are_otherwise_sound() -> None:
    assert torch.equal(tensors_of(one(claiming()), "a record")["x"], torch.zeros(2))


def reply_of(client: str = "a") -> Reply:
    request = server().request(client, 3)
    decisions = [Decision(CARD[client].pairs[0].task, "replace", "kept", 1.5, None, "margin: 0.01")]
    vectors = {"sketch": torch.tensor([1.0, -2.0])}
    losses = {CARD[client].pairs[0].task: 0.125}
    return sound_reply(request, CARD[client], personal_losses=losses, decisions=decisions, vectors=vectors)


def test_a_request_comes_back_whole() -> None:
    request = replace(server().request("a", 3), kind="personalise")
    back, envelope = codec.decode_request(codec.encode_request(request, ENVELOPE))
    assert (back.client, back.round, back.kind) == ("a", 3, "personalise")
    assert back.components.equal(request.components)
    assert envelope == ENVELOPE


def test_a_reply_comes_back_whole() -> None:
    reply = reply_of()
    back, envelope = codec.decode_reply(codec.encode_reply(reply, "train", ENVELOPE), ASKED)
    assert envelope == ENVELOPE
    assert back.update.components.equal(reply.update.components)
    assert torch.equal(back.update.vectors["sketch"], reply.update.vectors["sketch"])
    for field in ("counts", "losses", "personal_losses", "decisions"):
        assert getattr(back.update, field) == getattr(reply.update, field)
    assert (back.client, back.round, back.seconds, back.steps) == ("a", 3, reply.seconds, reply.steps)


def test_each_component_is_a_record_of_its_own() -> None:
    reply = reply_of()
    content = codec.encode_reply(reply, "train", ENVELOPE)
    names = {name.removeprefix(codec.COMPONENT) for name in content if name.startswith(codec.COMPONENT)}
    assert names == {str(key) for key in reply.update.components}


def test_rows_and_greetings_come_back() -> None:
    rows: list[dict[str, Any]] = [{"client": "a", "value": 0.1, "n": 3}]
    assert codec.decode_rows(codec.encode_rows("a", 5, rows, ENVELOPE)) == (rows, "a", 5, ENVELOPE)
    card = HelloWords(client="a", examples={"digits": 7}, newest=4)
    assert codec.decode_hello(codec.encode_hello(ENVELOPE, "a", {"digits": 7}, 4)) == (card, ENVELOPE)
    assert codec.decode_greeting(codec.encode_hello(ENVELOPE)) == ENVELOPE


def test_a_failure_is_one_line_whatever_is_decoded() -> None:
    content = codec.encode_failure("first\nsecond" + "x" * 5_000, ENVELOPE)
    for decode in (lambda c: codec.decode_reply(c, ASKED), codec.decode_rows, codec.decode_hello):
        with pytest.raises(MalformedError) as told:
            decode(content)
        assert str(told.value).startswith("first second")
        assert len(str(told.value)) == codec.MAX_LINE


def about(**changes: Any) -> ConfigRecord:
    content = codec.encode_reply(reply_of(), "train", ENVELOPE)
    record = dict(content[codec.ABOUT])
    record.update(changes)
    return ConfigRecord({key: value for key, value in record.items() if value is not None})


BROKEN: dict[str, tuple[str, Any]] = {
    "no envelope": (codec.ABOUT, None),
    "an envelope of numbers": (codec.ABOUT, MetricRecord({"client": 1})),
    "no client": (codec.ABOUT, about(client=None)),
    "a client that is a number": (codec.ABOUT, about(client=3)),
    "a round that is a switch": (codec.ABOUT, about(round=True)),
    "a round of half": (codec.ABOUT, about(round=1.5)),
    "another kind": (codec.ABOUT, about(kind="evaluate")),
    "endless time": (codec.ABOUT, about(time_left=math.inf)),
    "no counts": (codec.COUNTS, None),
    "counts as words": (codec.COUNTS, ConfigRecord({"shared": "many"})),
    "losses as arrays": (codec.LOSSES, ArrayRecord({})),
    "a component of words": (f"{codec.COMPONENT}shared", ConfigRecord({"weight": "heavy"})),
    "no decisions": (codec.DECISIONS, None),
    "decisions that are no JSON": (codec.DECISIONS, ConfigRecord({"json": "{"})),
    "decisions that are deep": (codec.DECISIONS, ConfigRecord({"json": "[" * 100_000})),
    "decisions that are long": (codec.DECISIONS, ConfigRecord({"json": "[" + " " * codec.MAX_JSON + "]"})),
    "decisions that are a mapping": (codec.DECISIONS, ConfigRecord({"json": "{}"})),
    "a decision that is a number": (codec.DECISIONS, ConfigRecord({"json": "[1]"})),
    "a decision with too much": (
        codec.DECISIONS,
        ConfigRecord({"json": json.dumps([{"task": "t", "kind": "replace", "more": 1}])}),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_has_not_the_form_is_malformed(what: str) -> None:
    name, record = BROKEN[what]
    content = codec.encode_reply(reply_of(), "train", ENVELOPE)
    if record is None:
        del content[name]
    else:
        content[name] = record
    with pytest.raises(MalformedError) as told:
        codec.decode_reply(RecordDict(dict(content)), ASKED)
    assert "\n" not in str(told.value)


def described(tensors: int) -> ArrayRecord:
    """Return a record of so many empty tensors."""
    found = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(tensors)}
    header = json.dumps(found).encode()
    return one(len(header).to_bytes(8, "little") + header)


SHARED = f"{codec.COMPONENT}shared"


@pytest.mark.parametrize("tensors", [20, 15_000, 300_000])
def test_a_description_longer_than_what_was_asked_for_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, tensors: int
) -> None:
    content = codec.encode_reply(reply_of(), "train", ENVELOPE)
    content[SHARED] = described(tensors)  # asked were two tensors
    sound = arrays.load
    monkeypatch.setattr(arrays, "load", lambda data: pytest.fail("parsed") if b'"t9"' in data else sound(data))
    with pytest.raises(MalformedError, match=r"'shared' has a description of \d+ bytes; \d+ at the most"):
        codec.decode_reply(content, ASKED)


def test_what_a_node_is_sent_has_bounds_that_hold_for_all_of_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedError, match=r"a description of .* 1000000 at the most"):
        tensors_of(described(300_000), "'shared'")
    content = codec.encode_request(server().request("a", 3), ENVELOPE)
    size = sum(arrays.described(record) for name, record in content.items() if name.startswith(codec.COMPONENT))
    monkeypatch.setattr(codec, "MAX_HEADERS", size)
    codec.decode_request(content)
    monkeypatch.setattr(codec, "MAX_HEADERS", size - 1)
    with pytest.raises(MalformedError, match="a description of"):
        codec.decode_request(content)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("axes", [0, 1, 8])
def test_what_was_asked_for_has_room_in_any_dtype_that_travels(dtype: torch.dtype, axes: int) -> None:
    names = ["weight", "a.long.name|scale", "\x01\x02", "\u00fc\U0001f600"]
    sent = {name: torch.zeros([1] * axes) for name in names}
    back = {name: torch.ones([1] * axes, dtype=dtype) for name in names}
    assert tensors_of(record_of(back), "a record", Room.of(sent)).keys() == sent.keys()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "masked"])
def test_an_honest_answer_has_room_in_every_form_in_which_it_travels(precision: Any) -> None:
    request, reply = server().request("a", 3), reply_of()
    if precision == "masked":
        sent = reply.update.components.map(lambda tensor: tensor.to(torch.int64))
    else:
        request = replace(request, components=pack(request.components, precision))
        sent = pack(reply.update.components, precision)
    told = codec.encode_reply(replace(reply, update=replace(reply.update, components=sent)), "train", ENVELOPE)
    back, _ = codec.decode_reply(told, Asked.by(request))
    assert back.update.components.equal(sent)


def test_more_bytes_than_were_asked_for_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = codec.encode_reply(reply_of(), "train", ENVELOPE)
    content[SHARED] = record_of({"weight": torch.zeros(2, 3), "bias": torch.zeros(2_000)})
    monkeypatch.setattr(arrays, "load", lambda data: pytest.fail("parsed") if len(data) > 8_000 else load(data))
    with pytest.raises(MalformedError, match=r"'shared' comes in \d+ bytes; \d+ at the most"):
        codec.decode_reply(content, ASKED)


UNASKED: dict[str, tuple[str, Any, str]] = {
    "a component": (f"{codec.COMPONENT}head/of/others", record_of({"w": torch.zeros(2)}), "which nobody asked for"),
    "a component with an endless name": (codec.COMPONENT + "x" * 10_000, record_of({}), "which nobody asked for"),
    "a record": ("more", ConfigRecord({"x": 1}), "a record 'more', which nobody asked for"),
    "a name that turns the line": ("\x1b[2J\n", ConfigRecord({"x": 1}), "which nobody asked for"),
    "counts without end": (codec.COUNTS, MetricRecord({f"c{i}": 1 for i in range(1_000)}), "'counts' has 1000 entries"),
    "losses without end": (codec.LOSSES, MetricRecord({f"c{i}": 1.0 for i in range(10_001)}), "'losses' has 10001"),
    "a long name of a loss": (codec.LOSSES, MetricRecord({"c" * 5_000: 1.0}), "a name of more than 1000 characters"),
    "decisions without end": (codec.DECISIONS, ConfigRecord({"json": "[" + "1," * 1_000 + "1]"}), "1001 decisions"),
    "vectors without end": (codec.VECTORS, described(3_000), "vectors has a description of"),
}


@pytest.mark.parametrize("what", UNASKED)
def test_what_nobody_asked_for_is_refused(what: str) -> None:
    name, record, why = UNASKED[what]
    content = codec.encode_reply(reply_of(), "train", ENVELOPE)
    content[name] = record
    with pytest.raises(MalformedError, match=why) as told:
        codec.decode_reply(content, ASKED)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


def test_more_records_than_were_asked_for_are_refused_unread() -> None:
    content = codec.encode_reply(reply_of(), "train", ENVELOPE)
    for number in range(1_000):
        content[f"{codec.COMPONENT}c{number}"] = record_of({})
    with pytest.raises(MalformedError, match=r"^\d+ records; \d+ at the most"):
        codec.decode_reply(content, ASKED)


def test_nothing_comes_back_for_an_answer_that_is_words_alone() -> None:
    request = replace(server().request("a", 3), kind="keys", components=ComponentState())
    reply = replace(reply_of(), secure="{}")
    with pytest.raises(MalformedError, match=r"nobody asked for|at the most"):
        codec.decode_reply(codec.encode_reply(reply, "keys", ENVELOPE), Asked.by(request))


HELLO: dict[str, tuple[str, Any]] = {
    "examples of half": (codec.COUNTS, MetricRecord({"digits": 1.5})),
    "fewer than none": (codec.COUNTS, MetricRecord({"digits": -1})),
    "endless examples": (codec.COUNTS, MetricRecord({"digits": 10**15})),
    "a list of examples": (codec.COUNTS, MetricRecord({"digits": [1, 2]})),
    "tasks without end": (codec.COUNTS, MetricRecord({f"t{i}": 1 for i in range(1_001)})),
    "a task with an endless name": (codec.COUNTS, MetricRecord({"t" * 300: 1})),
    "a task without a name": (codec.COUNTS, MetricRecord({"": 1})),
    "a task that clears the screen": (codec.COUNTS, MetricRecord({"\x1b[2J": 1})),
    "more records": ("more", MetricRecord({"x": 1})),
    "components": (SHARED, record_of({"w": torch.zeros(1)})),
    "nobody": (codec.ABOUT, {"client": ""}),
    "an endless name": (codec.ABOUT, {"client": "c" * 1_000}),
    "a name of two lines": (codec.ABOUT, {"client": "a\nb"}),
    "a state of no round": (codec.ABOUT, {"round": -1}),
    "a state of the far future": (codec.ABOUT, {"round": 10**9}),
    "an endless version": (codec.ABOUT, {"version": "1" * 10_000}),
    "a federation of numbers": (codec.ABOUT, {"federation": [1, 2]}),
    "more words": (codec.ABOUT, {"more": 1}),
}


@pytest.mark.parametrize("what", HELLO)
def test_a_card_that_is_not_as_agreed_on_is_malformed(what: str) -> None:
    name, record = HELLO[what]
    content = codec.encode_hello(ENVELOPE, "a", {"digits": 7}, 4)
    content[name] = ConfigRecord({**dict(content[name]), **record}) if isinstance(record, dict) else record
    with pytest.raises(MalformedError) as told:
        codec.decode_hello(content)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300
