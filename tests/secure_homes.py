"""Clients of a toy federation that take part in secure aggregation, honestly but for what a test makes of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from builders import CARDS, ToyArchitecture, ToyMethod, components, sound_reply
from fedtap.algorithms.base import ServerState, Update
from fedtap.components import ComponentState
from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.federation.rounds import run_round
from fedtap.federation.secure.client import SecureClient
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.scenario.safety import PrivacySettings, Safety, SecureSettings

PEOPLE = tuple(replace(card, id=f"{card.id}{number}") for card in CARDS for number in (1, 2, 3))
"""Twelve clients; of each kind of component there are three holders at least."""
CARD = {card.id: card for card in PEOPLE}
Spoil = Callable[[Request, Reply], Reply | None]


def serving(secure: SecureSettings | None, cards: Sequence[ClientCard] = PEOPLE) -> Server:
    method, architecture = ToyMethod(), ToyArchitecture()
    keys = frozenset().union(*(architecture.plan(card.pairs) for card in cards))
    state = ServerState(components(keys).select(method.travels))
    safety = Safety(privacy=PrivacySettings(secure=secure))
    return Server(algorithm=method, architecture=architecture, state=state, cards=cards, safety=safety)


class Homes:
    """Clients that train soundly, and answer what secure aggregation asks; ``spoil`` changes or drops an answer."""

    def __init__(
        self, folder: Path, secure: SecureSettings | None, spoil: Spoil = lambda request, reply: reply
    ) -> None:
        self.site = SecureClient(ClientStore(folder), secure) if secure else None
        self.spoil = spoil
        self.sent: list[Reply] = []
        self.updates: dict[str, Update] = {}

    def clients(self) -> Sequence[ClientCard]:
        return PEOPLE

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        for request in requests:
            try:
                reply = self.answer(request)
            except ValueError as error:
                yield Failure(request.client, request.round, str(error))
                continue
            self.sent.append(reply)
            told = self.spoil(request, reply)
            yield Failure(request.client, request.round, "silent") if told is None else told

    def answer(self, request: Request) -> Reply:
        if request.kind != "train":
            assert self.site is not None
            return self.site.answer(request)
        reply = sound_reply(request, CARD[request.client], seed=sum(map(ord, request.client)))
        near = request.components.zip(lambda now, new: now + 0.2 * torch.tanh(new), reply.update.components)
        update = self.updates[request.client] = replace(reply.update, components=near)
        return replace(reply, update=self.site.mask(request, update, request.components) if self.site else update)


def one_round(
    folder: Path,
    secure: SecureSettings | None = SecureSettings(),  # noqa: B008  (frozen)
    spoil: Spoil = lambda request, reply: reply,
    clients: Sequence[str] = tuple(CARD),
) -> tuple[Server, list[dict[str, Any]], Homes]:
    federation, homes, events = serving(secure), Homes(folder, secure, spoil), []
    run_round(federation, homes, clients, 1, events.append)
    return federation, events, homes


def silent(who: set[str], *kinds: str) -> Spoil:
    return lambda request, reply: None if request.client in who and request.kind in kinds else reply


def close(one: ComponentState, other: ComponentState, within: float = 1e-6) -> bool:
    gaps = one.zip(torch.sub, other)
    return all(float(gap.abs().max()) <= within for _, _, gap in gaps.tensors())


def note(events: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [event for event in events if event["event"] == "secure"]
    return found
