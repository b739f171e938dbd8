"""Requests and replies as frames between fedtap's own processes: a JSON object, then a safetensors file. No pickle.

Both ends are this very program on this machine, so nothing here defends against a dishonest one (for that: ``flower/codec.py``);
what a client's reply holds is judged by the server as always. Numbers arrive as they were sent, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias

from safetensors.torch import load
from torch import Tensor

from fedtap.algorithms.base import Update
from fedtap.components import ComponentState
from fedtap.engines.pipe import Frame, Head
from fedtap.federation.messages import EvaluateReply, Failure, Reply, Request
from fedtap.pairs import ComponentKey
from fedtap.personalization.decision import Decision
from fedtap.runtime.tensor_bytes import tensor_bytes

Answer: TypeAlias = Reply | EvaluateReply | Failure

_VECTOR = "vector/"
"""Before the name of a tensor that a method sends beside the components; no component is called so."""


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Return named tensors as bytes; views, and tensors that share memory, each for itself."""
    return tensor_bytes(tensors)


def tensors_in(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a frame, each in memory of its own, aligned as torch does it: sums go by that."""
    return {name: tensor.clone() for name, tensor in load(data).items()}


def encode_request(request: Request, newest: int) -> Frame:
    """Return a request as a frame; ``newest`` is the round of the client's newest state, 0 if it has none yet."""
    head = {"kind": request.kind, "client": request.client, "round": request.round, "secure": request.secure}
    return {**head, "newest": newest}, packed(request.components.flat())


def decode_request(head: Head, data: bytes) -> Request:
    """Return the request that a frame holds."""
    components = ComponentState.from_flat(tensors_in(data))
    return Request(head["client"], head["round"], head["kind"], components, head["secure"])


def encode_answer(answer: Answer) -> Frame:
    """Return an answer as a frame."""
    head: Head = {"client": answer.client, "round": answer.round}
    if isinstance(answer, Failure):
        return {**head, "is": "failure", "why": answer.why}, b""
    if isinstance(answer, EvaluateReply):
        return {**head, "is": "rows", "rows": list(answer.rows)}, b""
    update = answer.update
    told = {
        **head,
        "is": "reply",
        "seconds": answer.seconds,
        "steps": answer.steps,
        "secure": answer.secure,
        "counts": {str(key): count for key, count in update.counts.items()},
        "losses": dict(update.losses),
        "personal_losses": dict(update.personal_losses),
        "decisions": [asdict(decision) for decision in update.decisions],
        "validation": list(answer.validation),
    }
    vectors = {f"{_VECTOR}{name}": tensor for name, tensor in update.vectors.items()}
    return told, packed({**update.components.flat(), **vectors})


def decode_answer(head: Head, data: bytes) -> Answer:
    """Return the answer that a frame holds."""
    client, number = head["client"], head["round"]
    if head["is"] == "failure":
        return Failure(client, number, head["why"])
    if head["is"] == "rows":
        return EvaluateReply(client, number, head["rows"])
    tensors = tensors_in(data)
    update = Update(
        components=ComponentState.from_flat({n: t for n, t in tensors.items() if not n.startswith(_VECTOR)}),
        counts={ComponentKey.parse(key): count for key, count in head["counts"].items()},
        losses=head["losses"],
        personal_losses=head["personal_losses"],
        decisions=[Decision(**decision) for decision in head["decisions"]],
        vectors={n.removeprefix(_VECTOR): t for n, t in tensors.items() if n.startswith(_VECTOR)},
    )
    return Reply(client, number, update, head["seconds"], head["steps"], head["secure"], head["validation"])
