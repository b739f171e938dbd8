"""Secure aggregation with anything in a client's answer to any of its steps: nothing ends the round, nothing odd is taken in.

``FEDTAP_FUZZ_SECURE`` says how many rounds; the campaign is 1,000.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("Crypto")

from fedtap.federation.messages import Reply, Request
from fedtap.scenario.safety import SecureSettings
from secure_homes import one_round, serving

ROUNDS = int(os.environ.get("FEDTAP_FUZZ_SECURE", "60"))
STEPS = ("keys", "shares", "train", "unmask")
CLIENTS = ("b1", "b2", "b3")
BOUND = 0.5
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**400, float("nan"), "", "b2", "b9", "shared", "0" * 64, "g" * 64, "0" * 36, "0" * 68, "F" * 64,
    "\x1b[2J", "\ud800", "x" * 300_000, [], {}, ["b2"], {"b2": {"shared": "0" * 36}}, {"shared": "0" * 36}, [[[[[]]]]],
)  # fmt: skip


def dumped(value: Any) -> str:
    return json.dumps(value)


def odd_words(text: str, rng: np.random.Generator) -> Any:
    """Return words that are like the sound ones, but for something odd in them."""
    how = int(rng.integers(6))
    odd = ODD[int(rng.integers(len(ODD)))]
    if how == 0:
        return odd if rng.integers(2) else dumped(odd)
    if how == 1:
        return str(rng.choice(["", "{", "[" * 50_000, "nul", '{"masks":1', text * 2, text[:-1], text + " " * 10**6]))
    if how == 2:
        place = int(rng.integers(len(text)))
        return text[:place] + chr(int(rng.integers(1, 0x2FF))) + text[place + 1 :]
    value: Any = json.loads(text)
    node = value
    while isinstance(node, dict) and node:
        name = str(rng.choice(sorted(node)))
        below = node[name]
        if not isinstance(below, dict) or not below or rng.integers(3) == 0:
            if how == 3:
                node[name] = odd
            elif how == 4:
                node[odd if isinstance(odd, str) else "b9"] = node.pop(name)
            else:
                node[name] = [below, below] if rng.integers(2) else dict.fromkeys([name, *CLIENTS, "b9"], below)
            break
        node = below
    return dumped(value)


def odd_update(reply: Reply, rng: np.random.Generator) -> Reply:
    """Return an answer to ``train`` with something odd beside its tensors, or in them."""
    update = reply.update
    odd = ODD[int(rng.integers(len(ODD)))]
    change: list[Callable[[], Any]] = [
        lambda: {"components": update.components.map(lambda tensor: tensor.float())},
        lambda: {"components": update.components.map(lambda tensor: tensor[:1])},
        lambda: {"components": update.components.map(lambda tensor: torch.randint_like(tensor, -(2**62), 2**62))},
        lambda: {"components": update.components.map(lambda tensor: torch.full_like(tensor, 2**63 - 1))},
        lambda: {"components": update.components.select(lambda key, name: name == "bias")},
        lambda: {"components": odd},
        lambda: {"counts": dict.fromkeys(update.counts, odd)},
        lambda: {"counts": odd},
        lambda: {"losses": {"digits": odd}},
        lambda: {"vectors": {"sketch": torch.full((3,), float("inf"))}},
        lambda: {"decisions": [odd]},
    ]
    return replace(reply, update=replace(update, **change[int(rng.integers(len(change)))]()))


def as_agreed(kind: str, text: str) -> bool:
    """Tell whether words that were taken are those that may be, by rules written down here once more."""
    value = json.loads(text)
    if kind == "keys":
        return set(value) == {"masks", "letters"} and all(re.fullmatch("[0-9a-f]{64}", each) for each in value.values())
    if kind == "shares":
        return set(value) == {"sealed"} and set(value["sealed"]) <= {"b2", "b3"} and len(text) < 100_000
    shares = [share for each in value.get("seeds", {}).values() for share in each.values()]
    return (
        set(value) <= {"seeds", "keys"}
        and set(value.get("seeds", {})) <= set(CLIENTS)
        and not value.get("keys")
        and all(re.fullmatch("[0-9a-f]{36}", share) for share in shares)
    )


def test_nothing_that_a_client_says_ends_a_round_or_moves_a_component_beyond_the_bound(tmp_path: Path) -> None:
    rng, taken = np.random.default_rng(9), 0
    before = serving(None).components
    for at in range(ROUNDS):
        step = STEPS[at % len(STEPS)]
        told: list[Any] = []

        def spoil(request: Request, reply: Reply, step: str = step, told: list[Any] = told) -> Reply:
            if (request.client, request.kind) != ("b1", step):
                return reply
            if step == "train":
                reply = odd_update(reply, rng)
            elif rng.integers(8) == 0:
                name = str(rng.choice(["client", "round", "update", "seconds", "steps"]))
                reply = replace(reply, **{name: ODD[int(rng.integers(len(ODD)))]})
            else:
                reply = replace(reply, secure=odd_words(reply.secure, rng))
            told.append(reply.secure)
            return reply

        secure = SecureSettings(holders=2, bound=BOUND, few="withhold")
        federation, events, _ = one_round(tmp_path / str(at), secure, spoil, CLIENTS)
        assert events[-1]["event"] == "round_finished", at
        assert all("\n" not in event["why"] and len(event["why"]) <= 500 for event in events if "why" in event), at
        for key, name, tensor in federation.components.tensors():
            moved = tensor - before[key][name]
            assert bool(tensor.isfinite().all()), at
            assert float(moved.abs().max()) <= BOUND * 1.001, at
        refused = [event for event in events if event["event"] == "rejected"]
        if told and not refused and step != "train":
            taken += 1
            assert as_agreed(step, told[0]), (at, step, str(told[0])[:300])
    print(f"{ROUNDS} rounds, {taken} odd answers taken, none beyond what was agreed on")
    assert taken < ROUNDS / 2
