"""A client's reply is hostile until it has passed here. Nothing of a refused reply reaches the server's components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import ClientCard, Reply, Request
from fedtap.federation.wire import form_complaint, unpack
from fedtap.federation.words import HUGE, MAX_DECISIONS, MAX_LOSS, MAX_TEXT, ReplyWords, fault
from fedtap.personalization.decision import Decision
from fedtap.scenario.safety import WirePrecision

MAX_VECTORS, MAX_VECTOR = 16, 100_000  # how many of them, and scalars in each
MAX_ABS = 1e6  # a trained weight of this size means that the model has long been useless


def complaint(
    reply: Reply,
    request: Request,
    card: ClientCard,
    counts: Mapping[ComponentKey, int],
    shapes: ComponentState,
    precision: WirePrecision = "fp32",
) -> str | None:
    """Return in one line why a reply must be refused, or None if it is sound.

    Parameters
    ----------
    reply, request
        The answer and what was asked.
    card
        What the client registered with.
    counts
        The most examples that the client may claim for each component it may send, by its card; no others may come.
    shapes
        The server's own components, whose parameter names, shapes and dtypes a reply must have.
    precision
        The form in which its components must come.
    """
    about = (reply.client, reply.round)
    if tuple(map(type, about)) != (str, int) or about != (request.client, request.round):
        who = reply.client[:MAX_TEXT] if isinstance(reply.client, str) else type(reply.client).__name__
        return f"answers for client '{who}' in round {_shown(reply.round)}, asked was '{request.client}' in {request.round}"
    update = reply.update
    if not _has_form(update):
        return "the update is not of the form that was agreed on"
    wrong = _words_complaint(reply)
    if wrong:
        return wrong
    for key in update.components:
        if key not in counts:
            return f"component '{key}' is not in the client's plan"
        wrong = _component_complaint(key, update.components[key], shapes[key], precision)
        if wrong:
            return wrong
    for key, count in update.counts.items():
        if key not in update.components:
            return f"an example count for component '{key}', which was not sent"
        if count > counts[key]:
            return f"the example count of '{key}' is {_shown(count)}; the client registered {counts[key]}"
    missing = [key for key in update.components if key not in update.counts]
    if missing:
        return f"no example count for component '{missing[0]}'"
    return _vector_complaint(update.vectors) or _task_complaint(update, card)


def _has_form(update: Update) -> bool:
    mappings = (
        (update.counts, update.losses, update.personal_losses, update.vectors)
        if isinstance(update, Update)
        else (None,)
    )
    return (
        all(isinstance(each, Mapping) for each in mappings)
        and isinstance(update.components, ComponentState)
        and isinstance(update.decisions, list | tuple)
    )


def _component_complaint(
    key: ComponentKey,
    given: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    precision: WirePrecision,
) -> str | None:
    wrong = form_complaint(key, given, expected, precision)
    if wrong:
        return wrong
    for _, name, tensor in unpack(ComponentState({key: given}), precision).tensors():
        wrong = _value_complaint(f"'{key}:{name}'", tensor, expected[name].dtype)
        if wrong:
            return wrong
    return None


def _vector_complaint(vectors: Mapping[str, torch.Tensor]) -> str | None:
    if len(vectors) > MAX_VECTORS:
        return f"{len(vectors)} vectors; expected {MAX_VECTORS} at the most"
    for name, vector in vectors.items():
        if not isinstance(name, str) or len(name) > MAX_TEXT or not name.isprintable():
            return "a vector without a plain name"
        if not isinstance(vector, torch.Tensor) or vector.layout != torch.strided or vector.device.type != "cpu":
            return f"vector '{name}' is not a dense tensor"
        if vector.dim() != 1 or vector.numel() > MAX_VECTOR:
            return f"vector '{name}' has shape {tuple(vector.shape)}, expected one axis of {MAX_VECTOR} at the most"
        wrong = _value_complaint(f"vector '{name}'", vector, torch.float32)
        if wrong:
            return wrong
    return None


def _value_complaint(what: str, tensor: torch.Tensor, dtype: torch.dtype) -> str | None:
    if tensor.dtype != dtype:
        return f"{what} has dtype {tensor.dtype}, expected {dtype}"
    if not bool(torch.isfinite(tensor).all()):
        return f"{what} holds a value that is not finite"
    if tensor.numel() and float(tensor.abs().max()) > MAX_ABS:
        return f"{what} holds a value beyond {MAX_ABS:g}"
    return None


def _words_complaint(reply: Reply) -> str | None:
    """Return what is wrong with all that is not a tensor, whatever it is: none of it has been looked at before."""
    update = reply.update
    if len(update.decisions) > MAX_DECISIONS:
        return f"{len(update.decisions)} decisions; expected {MAX_DECISIONS} at the most"
    if not all(isinstance(decision, Decision) for decision in update.decisions):
        return "a decision for a task that the client does not have"
    values: dict[str, Any] = {
        "counts": {str(key): count for key, count in update.counts.items()},
        "losses": dict(update.losses),
        "personal_losses": dict(update.personal_losses),
        "decisions": [asdict(decision) for decision in update.decisions],
        "seconds": reply.seconds,
        "steps": reply.steps,
    }
    place = fault(ReplyWords, values)
    if place is None:
        return None
    what, inner = place[0], place[1:]
    if what == "counts" and inner:
        count = values["counts"][inner[0]]
        return f"the example count of '{inner[0]}' is {_shown(count)}; expected a whole number from 0"
    if what in ("losses", "personal_losses") and inner:
        return f"the loss of task '{inner[0]}' is not a finite number from 0 to {MAX_LOSS:g}"
    if what == "decisions" and len(inner) > 1:
        task = values["decisions"][inner[0]]["task"]
        if inner[1] == "task":
            return "a decision for a task that the client does not have"
        if inner[1] in ("federated_loss", "personal_loss"):
            return f"a loss in a decision for task '{task}' is not a finite number from 0 to {MAX_LOSS:g}"
        return f"a decision for task '{task}' holds no plain words"
    if what == "seconds":
        return "the seconds of work are not a finite number from 0"
    if what == "steps":
        return "the steps of work are not a whole number from 0"
    return "the update is not of the form that was agreed on"


def _task_complaint(update: Update, card: ClientCard) -> str | None:
    for task in [*update.losses, *update.personal_losses]:
        if task not in card.examples:
            return f"a loss for task '{task}', which the client does not have"
    if any(decision.task not in card.examples for decision in update.decisions):
        return "a decision for a task that the client does not have"
    return None


def _shown(value: object) -> str:
    """Return a short ``repr`` of a plain value, and of others their type alone: their ``repr`` may be endless, or fail."""
    if isinstance(value, int) and abs(value) > HUGE:  # Python refuses to write out thousands of digits
        return f"beyond {HUGE:g}"
    return repr(value)[:MAX_TEXT] if isinstance(value, int | float | str) else f"a {type(value).__name__}"
