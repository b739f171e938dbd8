"""A client's reply is hostile until it has passed here. Nothing of a refused reply reaches the server's components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import ClientCard, Reply, Request
from fedtap.federation.wire import form_complaint, unpack
from fedtap.personalization.decision import Decision
from fedtap.scenario.safety import WirePrecision

MAX_DECISIONS = 1_000
HUGE = 10**15  # no count of anything here comes near it
MAX_VECTORS, MAX_VECTOR = 16, 100_000  # how many of them, and scalars in each
MAX_TEXT = 200  # characters of a decision's words
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
    if reply.client != request.client or reply.round != request.round:
        return f"answers for client '{reply.client}' in round {reply.round}, asked was '{request.client}' in {request.round}"
    update = reply.update
    if not _has_form(update):
        return "the update is not of the form that was agreed on"
    for key in update.components:
        if key not in counts:
            return f"component '{key}' is not in the client's plan"
        wrong = _component_complaint(key, update.components[key], shapes[key], precision)
        if wrong:
            return wrong
    for key, count in update.counts.items():
        if key not in update.components:
            return f"an example count for component '{key}', which was not sent"
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            return f"the example count of '{key}' is {_shown(count)}; expected a whole number from 0"
        if count > counts[key]:
            return f"the example count of '{key}' is {_shown(count)}; the client registered {counts[key]}"
    missing = [key for key in update.components if key not in update.counts]
    if missing:
        return f"no example count for component '{missing[0]}'"
    return (
        _vector_complaint(update.vectors)
        or _loss_complaint(update.losses, card)
        or _loss_complaint(update.personal_losses, card)
        or _decision_complaint(update.decisions, card)
        or _effort_complaint(reply)
    )


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


def _loss_complaint(losses: Mapping[str, float], card: ClientCard) -> str | None:
    for task, loss in losses.items():
        if task not in card.examples:
            return f"a loss for task '{task}', which the client does not have"
        if not _is_finite(loss):
            return f"the loss of task '{task}' is not a finite number"
    return None


def _decision_complaint(decisions: Sequence[Decision], card: ClientCard) -> str | None:
    if len(decisions) > MAX_DECISIONS:
        return f"{len(decisions)} decisions; expected {MAX_DECISIONS} at the most"
    for decision in decisions:
        if not isinstance(decision, Decision) or decision.task not in card.examples:
            return "a decision for a task that the client does not have"
        for text in (decision.kind, decision.outcome, decision.rule):
            if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
                return f"a decision for task '{decision.task}' holds no plain words"
        for loss in (decision.federated_loss, decision.personal_loss):
            if loss is not None and not _is_finite(loss):
                return f"a loss in a decision for task '{decision.task}' is not a finite number"
    return None


def _effort_complaint(reply: Reply) -> str | None:
    if not _is_finite(reply.seconds) or reply.seconds < 0:
        return "the seconds of work are not a finite number from 0"
    if isinstance(reply.steps, bool) or not isinstance(reply.steps, int) or not 0 <= reply.steps <= HUGE:
        return "the steps of work are not a whole number from 0"
    return None


def _shown(value: object) -> str:
    """Return a value's ``repr``; Python refuses to write out whole numbers of thousands of digits."""
    return f"beyond {HUGE:g}" if isinstance(value, int) and abs(value) > HUGE else repr(value)


def _is_finite(value: object) -> bool:
    """Tell whether a value is a real number; one too large for a float is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
