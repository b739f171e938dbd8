"""The round loop: sample, send, receive, check, average, record. It knows neither the engine nor the method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fedtap.federation.messages import SECRETS, Failure, Reply, Request
from fedtap.federation.secure.server import Judge, train_masked
from fedtap.federation.server import Server
from fedtap.federation.transport import Transport
from fedtap.runtime.text import one_line

Event = Mapping[str, Any]
Observer = Callable[[dict[str, Any]], None]
MAX_WHY = 500  # characters of a reason in the event log


def run_round(
    server: Server,
    transport: Transport,
    clients: Sequence[str],
    round_number: int,
    observe: Observer,
    *,
    timeout: float | None = None,
    min_replies: int = 1,
) -> None:
    """Run one round with these clients and leave the server with its result.

    A client that fails, that has not answered within ``timeout`` seconds, or whose reply is refused, is recorded and left out. A
    round with fewer than ``min_replies`` sound replies changes nothing, and says so.
    """
    began = time.perf_counter()
    observe({"event": "round_started", "round": round_number, "clients": list(clients)})
    requests = [server.request(client, round_number) for client in clients]
    accepted = _trained(server, transport, requests, round_number, observe, timeout)
    needed = min(min_replies, len(requests))
    if needed > 1 and len(accepted) < needed:
        observe({"event": "unchanged", "round": round_number, "replies": len(accepted), "min_replies": needed})
        accepted = []
    for note in server.aggregate(accepted):
        observe({**note, "round": round_number})
    observe(
        {
            "event": "round_finished",
            "round": round_number,
            "clients": sorted(reply.client for reply in accepted),
            "seconds": round(time.perf_counter() - began, 4),
        }
    )


def _trained(
    server: Server,
    transport: Transport,
    requests: Sequence[Request],
    round_number: int,
    observe: Observer,
    timeout: float | None,
) -> list[Reply]:
    """Return the sound replies to requests to train, however much of them the server may see."""
    secure = server.secure
    if secure is None:
        return ask(server, transport, requests, round_number, observe, timeout=timeout)
    accepted, note = train_masked(
        requests,
        secure,
        lambda asked, judge: ask(server, transport, asked, round_number, observe, timeout=timeout, judge=judge),
        server.masked_complaint,
    )
    observe({**note, "round": round_number})
    return accepted


def ask(
    server: Server,
    transport: Transport,
    requests: Sequence[Request],
    round_number: int,
    observe: Observer,
    *,
    timeout: float | None = None,
    judge: Judge | None = None,
) -> list[Reply]:
    """Send requests and return the sound replies; failures, and replies that are refused, are recorded and left out.

    ``judge`` tells what is wrong with a reply, by default :meth:`fedtap.federation.server.Server.complaint`.
    """
    judge = judge or server.complaint
    asked = {request.client: request for request in requests}
    accepted: dict[str, Reply] = {}
    for answer in transport.exchange(requests, timeout=timeout):
        client = answer.client if isinstance(answer.client, str) else f"a {type(answer.client).__name__}"
        about = {"round": round_number, "client": client if client in asked else one_short_line(client)}
        if isinstance(answer, Failure):
            observe({"event": "failed", **about, "why": one_short_line(answer.why)})
            continue
        request = asked.get(client)
        if request is None:
            why: str | None = "nobody asked"
        elif client in accepted and type(answer.round) is int and answer.round == request.round:
            why = "a second reply to one request"
        else:
            why = judged(judge, answer, request)
        if why is not None or request is None:
            observe({"event": "rejected", **about, "why": one_short_line(why or "")})
            continue
        accepted[answer.client] = answer
        if request.kind not in SECRETS:
            report(answer, request, observe)
    return list(accepted.values())


def judged(judge: Callable[..., str | None], *given: Any) -> str | None:
    """Return what a judge says of what a client sent; one that fails over it has refused it.

    A dishonest client must never end the round of the others, so whatever its words make the check raise is a refusal.
    """
    try:
        return judge(*given)
    except Exception as error:
        return f"cannot be checked ({type(error).__name__}: {error})"


def one_short_line(text: str) -> str:
    """Return a text that others wrote as one short line for the event log."""
    return one_line(text.encode("utf-8", "replace").decode(), MAX_WHY)


def report(reply: Reply, request: Request, observe: Observer) -> None:
    """Record a sound reply and the decisions that came with it."""
    update = reply.update
    observe(
        {
            "event": "update" if request.kind == "train" else "personalised",
            "round": reply.round,
            "client": reply.client,
            "examples": max(update.counts.values(), default=0),
            "losses": dict(update.losses),
            "personal_losses": dict(update.personal_losses),
            "seconds": round(reply.seconds, 4),
            "steps": reply.steps,
            "bytes_down": request.components.nbytes,
            "bytes_up": update.components.nbytes + sum(vector.nbytes for vector in update.vectors.values()),
            "components": len(update.components),
        }
    )
    if reply.validation:
        observe({"event": "validation", "round": reply.round, "client": reply.client, "rows": list(reply.validation)})
    for decision in update.decisions:
        observe({"event": "decision", "round": reply.round, "client": reply.client, **asdict(decision)})
