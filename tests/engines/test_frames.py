"""What fedtap's own processes say to each other arrives bit by bit, whatever it is."""

import io
import math

import pytest
import torch

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.engines.frames import decode_answer, decode_request, encode_answer, encode_request, packed, tensors_in
from fedtap.engines.pipe import Frame, read_frame, write_frame
from fedtap.federation.messages import EvaluateReply, Failure, Reply, Request
from fedtap.personalization.decision import Decision

SHARED, HEAD = ComponentKey("shared"), ComponentKey("head", ("digits",))
WHOLE = torch.arange(12.0).reshape(3, 4)
STATE = ComponentState(
    {
        SHARED: {"a": WHOLE, "same": WHOLE, "across": WHOLE.T, "part": WHOLE[1:, ::2]},
        HEAD: {
            "half": torch.tensor([1.5, math.inf], dtype=torch.bfloat16),
            "few": torch.tensor([-3, 127], dtype=torch.int8),
            "one": torch.tensor(7),
            "none": torch.empty(0, 3),
        },
    }
)


def through(frame: Frame) -> Frame:
    pipe = io.BytesIO()
    write_frame(pipe, *frame)
    pipe.seek(0)
    found = read_frame(pipe)
    assert found is not None
    assert read_frame(pipe) is None
    return found


def test_a_request_arrives_as_it_was_sent() -> None:
    sent = Request("a", 3, "shares", STATE, '{"round": 3}')
    head, data = through(encode_request(sent, 2))
    assert head["newest"] == 2
    found = decode_request(head, data)
    assert found.components.equal(STATE)
    assert [tensor.dtype for _, _, tensor in found.components.tensors()] == [
        tensor.dtype for _, _, tensor in STATE.tensors()
    ]
    assert all(tensor.is_contiguous() for _, _, tensor in found.components.tensors())
    assert (found.client, found.round, found.kind, found.secure) == ("a", 3, "shares", '{"round": 3}')


def test_a_reply_arrives_as_it_was_sent() -> None:
    decisions = [Decision("digits", "replace", "kept", 0.1 + 0.2, None, "margin")]
    vectors = {"sketch": torch.tensor([0.1, -0.0]), "a:b": torch.tensor([True])}
    update = Update(STATE, {SHARED: 7, HEAD: 0}, {"b": 1 / 3, "a": math.inf}, {"b": -0.0}, decisions, vectors)
    rows = [{"task": "digits", "metric": "mse", "value": 0.1 + 0.2, "n": 7}, {"task": "b", "value": None}]
    found = decode_answer(*through(encode_answer(Reply("a", 3, update, 0.1, 12, "masks", rows))))
    assert isinstance(found, Reply)
    assert (found.client, found.round, found.seconds, found.steps, found.secure) == ("a", 3, 0.1, 12, "masks")
    assert found.update.components.equal(STATE)
    assert found.update.counts == update.counts
    assert list(found.update.losses.items()) == [("b", 1 / 3), ("a", math.inf)]
    assert math.copysign(1, found.update.personal_losses["b"]) == -1
    assert list(found.update.decisions) == decisions
    assert list(found.validation) == rows
    assert {name: tensor.tolist() for name, tensor in found.update.vectors.items()} == {
        "sketch": [torch.tensor(0.1).item(), -0.0],
        "a:b": [True],
    }


@pytest.mark.parametrize(
    "sent",
    [
        Failure("a", 3, "ValueError: Ümläut"),
        EvaluateReply("a", 3, [{"value": None, "n": 3}, {"value": 0.1, "metric": "accuracy"}]),
    ],
)
def test_other_answers_arrive_as_they_were_sent(sent: Failure | EvaluateReply) -> None:
    assert decode_answer(*through(encode_answer(sent))) == sent


def test_a_frame_that_breaks_off_is_none() -> None:
    pipe = io.BytesIO()
    write_frame(pipe, {"is": "reply"}, packed({"a": WHOLE}))
    whole = pipe.getvalue()
    for length in range(len(whole)):
        assert read_frame(io.BytesIO(whole[:length])) is None


def test_tensors_lie_in_memory_of_their_own() -> None:
    found = tensors_in(packed({"a": WHOLE, "b": WHOLE}))
    found["a"].add_(1)
    assert torch.equal(found["b"], WHOLE)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values())
