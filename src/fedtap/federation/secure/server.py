"""The server's part of secure aggregation: four steps of a round, of which it learns each component's sum and nothing else.

1. ``keys``: every client makes two key pairs for the round. 2. ``shares``: it learns the others' keys, and sends each a sealed
letter with shares of its secrets. 3. ``train``: it gets its letters, trains, and masks the components that have enough holders.
4. ``unmask``: it reveals, of those who answered, what takes their own masks away, and of those who did not what takes away the
masks that the others share with them. The server passes on what it cannot read.

What comes out are replies in which a masked component is the mean over all that hold it, the same in each: a method whose
aggregation is the mean over holders makes of them what it would have made of the single ones. It protects against a server that
reads all and follows the protocol, alone or with fewer clients than restore a secret; not against one that lies about who is
there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import Kind, Reply, Request
from fedtap.federation.secure.masking import (
    MOST_EXAMPLES,
    KeyPair,
    Whole,
    add,
    decoded,
    own_mask,
    pair_mask,
    restore,
    threshold,
)
from fedtap.federation.secure.messages import Due, Keys, Letters, Masked, Peers, Revealed, Survivors, Words, read
from fedtap.scenario.safety import SecureSettings

Judge = Callable[[Reply, Request], str | None]
"""Tells why a reply must be refused, or None."""
Ask = Callable[[Sequence[Request], Judge], list[Reply]]
"""Sends requests, refuses and records what is not sound, and returns the rest."""
MaskedJudge = Callable[[Reply, Request, frozenset[ComponentKey], str], str | None]
"""Like :data:`Judge`; it is told too which components come masked, and what becomes of the others."""
MAX_SHOWN = 40  # characters of what a client says that it is an answer to
Mean = Mapping[str, torch.Tensor]
"""A component's tensors, averaged."""


@dataclass
class _Round:
    """What the server has heard so far in a round."""

    keys: dict[str, Keys] = field(default_factory=dict)
    letters: dict[str, Letters] = field(default_factory=dict)
    holders: dict[ComponentKey, list[str]] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0


def train_masked(
    requests: Sequence[Request], settings: SecureSettings, ask: Ask, judge: MaskedJudge
) -> tuple[list[Reply], dict[str, Any]]:
    """Run a round of training of which the server sees sums alone where there are enough holders.

    Parameters
    ----------
    requests
        To train, as without secure aggregation.
    settings
        What was agreed on.
    ask
        Sends requests and returns sound replies.
    judge
        Tells what is wrong with a reply to ``train`` of which some components are masked.

    Returns
    -------
    replies, note
        The replies, masked components replaced by their mean over all holders, or left out where it could not be had; and the
        event ``secure``.
    """
    everybody = {request.client: request for request in requests}
    so_far = _agreed(everybody, settings, ask)
    taking_part = sorted(so_far.letters)
    names = {str(key): who for key, who in so_far.holders.items()}
    # Without secrets nothing can be masked, and a client sends what ``few`` says. One whose secrets did not come is left out.
    training = taking_part if names else sorted(so_far.keys)
    asked: list[Request] = []
    for client in training:
        sealed = {other: so_far.letters[other].sealed.get(client, "") for other in taking_part if other != client}
        text = Masked(sealed=sealed, holders=names).model_dump_json() if names else ""
        asked.append(replace(everybody[client], secure=text))
        so_far.bytes_down += len(text)
    masked = {client: frozenset(key for key, who in so_far.holders.items() if client in who) for client in training}
    replies = ask(asked, lambda reply, request: judge(reply, request, masked[request.client], settings.few))
    means, lost = _means(replies, everybody, settings, ask, so_far) if names and replies else ({}, [])
    held = {key for client in training for key in everybody[client].components}
    note = {
        "event": "secure",
        "clients": sorted(reply.client for reply in replies),
        "lost": lost,
        "summed": len(means),
        "not_restored": len(so_far.holders) - len(means) if replies else 0,
        "too_few_holders": len(held - so_far.holders.keys()),
        "few": settings.few,
        "bytes_down": so_far.bytes_down,
        "bytes_up": so_far.bytes_up,
    }
    return [_with_means(reply, means, masked[reply.client]) for reply in replies], note


def _agreed(requests: Mapping[str, Request], settings: SecureSettings, ask: Ask) -> _Round:
    """Have clients agree on secrets, and return what they said and which components have enough holders among them."""
    so_far = _Round()
    number = next((request.round for request in requests.values()), 0)
    asked = {client: ("", Due()) for client in requests}
    so_far.keys = _said("keys", asked, number, Keys, ask, so_far)
    if len(so_far.keys) < settings.holders:
        return so_far
    peers = {
        client: Peers(keys=so_far.keys, components=[str(key) for key in requests[client].components])
        for client in so_far.keys
    }
    asked = {
        client: (said.model_dump_json(), Due({other: said.components for other in peers if other != client}))
        for client, said in peers.items()
    }
    so_far.letters = _said("shares", asked, number, Letters, ask, so_far)
    if len(so_far.letters) < threshold(len(so_far.keys)):
        return so_far
    holding: dict[ComponentKey, list[str]] = {}
    for client in sorted(so_far.letters):
        for key in requests[client].components:
            holding.setdefault(key, []).append(client)
    so_far.holders = {key: who for key, who in sorted(holding.items()) if len(who) >= settings.holders}
    return so_far


def _means(
    replies: Sequence[Reply],
    requests: Mapping[str, Request],
    settings: SecureSettings,
    ask: Ask,
    so_far: _Round,
) -> tuple[dict[ComponentKey, Mean], list[str]]:
    """Return the mean of each masked component of which enough clients answered and enough was revealed; and who is lost."""
    answered = {reply.client: reply for reply in replies}
    lost = sorted(set(so_far.letters) - answered.keys())
    survivors: dict[ComponentKey, list[str]] = {}
    for key, who in so_far.holders.items():
        there = [client for client in who if client in answered]
        examples = sum(answered[client].update.counts[key] for client in there)
        if len(there) >= settings.holders and 0 < examples <= MOST_EXAMPLES:
            survivors[key] = there
    if not survivors:
        return {}, lost
    words = Survivors(components={str(key): who for key, who in survivors.items()}, lost=lost)
    number = replies[0].round
    due = Due({client: [name for name, who in words.components.items() if client in who] for client in answered}, lost)
    asked = dict.fromkeys(sorted(answered), (words.model_dump_json(), due))
    revealed = _said("unmask", asked, number, Revealed, ask, so_far)
    keys: dict[str, KeyPair] = {}
    for client in lost:
        pair = _restored_key(client, revealed, so_far)
        if pair is None:
            return {}, lost  # every component that the client holds keeps its masks
        keys[client] = pair
    means: dict[ComponentKey, Mean] = {}
    for key, there in survivors.items():
        mean = _mean(key, there, keys, answered, revealed, requests, settings, so_far)
        if mean is not None:
            means[key] = mean
    return means, lost


def _mean(
    key: ComponentKey,
    there: Sequence[str],
    keys: Mapping[str, KeyPair],
    answered: Mapping[str, Reply],
    revealed: Mapping[str, Revealed],
    requests: Mapping[str, Request],
    settings: SecureSettings,
    so_far: _Round,
) -> dict[str, torch.Tensor] | None:
    number = requests[there[0]].round
    total: Whole = {
        name: torch.zeros_like(tensor) for name, tensor in answered[there[0]].update.components[key].items()
    }
    for client in there:
        add(total, dict(answered[client].update.components[key]))
        try:
            shares = [
                bytes.fromhex(said.seeds[client][str(key)])
                for said in revealed.values()
                if str(key) in said.seeds.get(client, {})
            ]
            seed = restore(shares, len(so_far.keys))
        except ValueError:
            return None
        own_mask(total, seed, key, number, sign=-1)
        for gone in so_far.holders[key]:
            if gone in keys:
                secret = keys[gone].secret_with(bytes.fromhex(so_far.keys[client].masks))
                pair_mask(total, client, gone, secret, key, number, sign=-1)
    examples = sum(answered[client].update.counts[key] for client in there)
    sent = requests[there[0]].components[key]  # the same for all: methods that send each another slice are refused
    mean: dict[str, torch.Tensor] = {}
    for name, tensor in total.items():
        change = decoded(tensor, settings.bound, examples)
        if change is None:
            return None
        mean[name] = (sent[name].double() + change).to(sent[name].dtype)
    return mean


def _restored_key(client: str, revealed: Mapping[str, Revealed], so_far: _Round) -> KeyPair | None:
    """Return the private key of a client that is lost, if what was revealed restores the one whose public half it told."""
    try:
        shares = [bytes.fromhex(said.keys[client]) for said in revealed.values() if client in said.keys]
        pair = KeyPair.of(restore(shares, len(so_far.keys)))
    except ValueError:
        return None
    return pair if pair.public.hex() == so_far.keys[client].masks else None


def _with_means(reply: Reply, means: Mapping[ComponentKey, Mean], masked: frozenset[ComponentKey]) -> Reply:
    components = reply.update.components
    open_ones = components.select(lambda key, _: key not in masked)
    mine = ComponentState({key: means[key] for key in masked if key in means})
    merged = open_ones.merge(mine)
    counts = {key: count for key, count in reply.update.counts.items() if key in merged}
    return replace(reply, update=replace(reply.update, components=merged, counts=counts), secure="")


def _said(
    kind: Kind, asked: Mapping[str, tuple[str, Due]], number: int, words: type[Words], ask: Ask, so_far: _Round
) -> dict[str, Words]:
    """Ask clients for a step, each with a text and by what its answer may hold, and return what they said, by client."""
    nothing = ComponentState()
    requests = [Request(client, number, kind, nothing, text) for client, (text, _) in sorted(asked.items())]

    def judge(reply: Reply, request: Request) -> str | None:
        if type(reply.round) is not int or (reply.client, reply.round) != (request.client, request.round):
            return f"answers for client '{reply.client}' in round {str(reply.round)[:MAX_SHOWN]}"
        due = asked[request.client][1]
        try:
            said = read(reply.secure, words, due.length)
            if isinstance(said, Keys):
                for public in (said.masks, said.letters):
                    KeyPair.make().secret_with(bytes.fromhex(public))  # which refuses what is no key
        except ValueError as error:
            return str(error)
        return due.complaint(said)

    so_far.bytes_down += sum(len(text) for text, _ in asked.values())
    found: dict[str, Words] = {}
    for reply in ask(requests, judge):
        found[reply.client] = read(reply.secure, words)
        so_far.bytes_up += len(reply.secure)
    return dict(sorted(found.items()))
