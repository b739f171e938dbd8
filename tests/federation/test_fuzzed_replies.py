"""Replies and result rows with anything in any field: none out of range is accepted, and none makes the check fail.

``FEDTAP_FUZZ_REPLIES`` and ``FEDTAP_FUZZ_ROWS`` say how many; the campaign is 2,000 and 500.
"""

import dataclasses
import math
import os
from typing import Any

import numpy as np
import torch

from builders import CARDS, DIGITS, MOOD, REDRAW, VQA, ScriptedTransport, server, sound_reply
from fedtap.federation.messages import Reply
from fedtap.federation.result_validation import result_complaint
from fedtap.federation.rounds import run_round
from fedtap.personalization.decision import Decision

REPLIES = int(os.environ.get("FEDTAP_FUZZ_REPLIES", "300"))
ROWS = int(os.environ.get("FEDTAP_FUZZ_ROWS", "200"))
CARD = CARDS[0]
DECISION = Decision("digits", "replace", "kept", 1.0, 2.0, "margin: 0.01")
PAIRS = (DIGITS, MOOD, VQA, REDRAW)
LIMITS = {  # written down here once more: not to be taken from what is tested
    "accuracy": (0, 1),
    "macro_f1": (0, 1),
    "exact_match": (0, 1),
    "rouge_l": (0, 1),
    "chrf": (0, 100),
    "cross_entropy": (0, 1e6),
    "perplexity": (1, 1e100),
    "mse": (0, 1e6),
    "psnr": (0, 100),
    "ssim": (-1, 1),
    "bertscore_f1[minilm-l6]": (-1, 1),
}
TYPES = {
    "classification": ("accuracy", "macro_f1", "cross_entropy"),
    "reconstruction": ("mse", "psnr", "ssim"),
    "text_generation": (
        "cross_entropy",
        "perplexity",
        "exact_match",
        "rouge_l",
        "chrf",
        "bertscore_f1[minilm-l6]",
    ),
}


def odd(rng: np.random.Generator, depth: int = 0) -> Any:
    """Return anything."""
    plain: list[Any] = [
        None, True, False, 0, 1, -1, 0.5, -0.5, 1e6, 1.1e6, -1e9, 1.7e308, 10**400, -(10**5000), 2**63, 10**12, 40, 41,
        math.nan, math.inf, -math.inf, "", "digits", "accuracy", "x" * 100_000, "two\nlines", "\x1b[2J", "\u202eevil", "\ud800",
        "\0", b"bytes", 1j, object(), ..., set(), {1}, (), slice(1), np.int64(3), np.float32(0.5), np.zeros(2), torch.zeros(2),
        torch.tensor(math.nan), Decision, DECISION, lambda: 0,
    ]  # fmt: skip
    pick = int(rng.integers(len(plain) + 3))
    if pick < len(plain) or depth > 2:
        return plain[pick % len(plain)]
    more = [odd(rng, depth + 1) for _ in range(int(rng.integers(4)))]
    return more if pick == len(plain) else dict(enumerate(more)) if pick == len(plain) + 1 else {"digits": more}


def spoiled_reply(reply: Reply, rng: np.random.Generator) -> Reply:
    """Return a reply with something odd in one of its fields, or within one."""
    fields = [field.name for field in dataclasses.fields(reply.update)]
    where = int(rng.integers(4))
    if where == 0:
        name = str(rng.choice(["client", "round", "update", "seconds", "steps", "secure"]))
        return dataclasses.replace(reply, **{name: odd(rng)})
    if where == 1:
        changed = {str(rng.choice(fields)): odd(rng)}
    elif where == 2:
        name = str(rng.choice([field.name for field in dataclasses.fields(Decision)]))
        changed = {"decisions": [DECISION, dataclasses.replace(DECISION, **{name: odd(rng)})]}
    else:
        name = str(rng.choice(["counts", "losses", "personal_losses", "vectors"]))
        inside = dict(getattr(reply.update, name))
        key: Any = (
            next(iter(inside), "digits")
            if rng.integers(2)
            else 3
            if rng.integers(2)
            else str(rng.choice(["x" * 999, "\x1b", "vqa", ""]))
        )
        changed = {name: {**inside, key: odd(rng)}}
    return dataclasses.replace(reply, update=dataclasses.replace(reply.update, **changed))


def number(value: Any, low: float, high: float, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high


def in_range(reply: Reply) -> bool:
    """Tell whether nothing beside the tensors of an accepted reply is beyond what may be."""
    update = reply.update
    losses = [*update.losses.values(), *update.personal_losses.values()]
    told = [loss for d in update.decisions for loss in (d.federated_loss, d.personal_loss) if loss is not None]
    words = [word for d in update.decisions for word in (d.task, d.kind, d.outcome, d.rule)]
    return (
        (reply.client, reply.round) == ("a", 3)
        and set(update.losses) | set(update.personal_losses) | {d.task for d in update.decisions} <= {"digits", "mood"}
        and all(number(loss, -1e-3, 1e6) for loss in losses + told)
        and all(number(count, 0, 40, int) for count in update.counts.values())
        and all(isinstance(word, str) and len(word) <= 200 and word.isprintable() for word in words)
        and number(reply.seconds, 0, 1e9)
        and number(reply.steps, 0, 10**15, int)
        and all(vector.dim() == 1 and bool(vector.isfinite().all()) for vector in update.vectors.values())
    )


def test_no_fuzzed_reply_ends_a_round_or_brings_in_what_is_out_of_range() -> None:
    rng, accepted = np.random.default_rng(14), 0
    for at in range(REPLIES):
        federation, events = server(), list[dict[str, Any]]()
        request = federation.request("a", 3)
        reply = spoiled_reply(sound_reply(request, CARD), rng)
        told = federation.complaint(reply, request)  # which raises nothing either: nothing is left to the last net
        assert told is None or (isinstance(told, str) and told), at
        run_round(federation, ScriptedTransport(lambda _, reply=reply: [reply]), ["a"], 3, events.append)  # type: ignore[misc]
        kinds = [event["event"] for event in events]
        assert (kinds[0], kinds[-1]) == ("round_started", "round_finished"), at
        if "update" in kinds:
            accepted += 1
            assert in_range(reply), (at, reply)
        else:
            assert kinds[1:-1] == ["rejected"], at
            assert len(events[1]["why"]) <= 500, at
    print(f"{REPLIES} replies, {accepted} accepted, all within range")
    assert 0 < accepted < REPLIES / 2


def test_no_fuzzed_row_brings_in_what_is_out_of_range() -> None:
    rng, accepted = np.random.default_rng(15), 0
    for at in range(ROWS):
        pair = PAIRS[int(rng.integers(len(PAIRS)))]
        metric = str(rng.choice(sorted(LIMITS)))
        row: Any = {
            "client": "a",
            "task": pair.task,
            "family": pair.family,
            "model": "personal",
            "split": "test",
            "metric": metric,
            "value": float(rng.choice([0.5, 1.0, 50.0, -0.5, 1e5, 1e7, 1e120, 1.7e308])),
            "n": 12,
        }
        if rng.integers(2):
            row[str(rng.choice(list(row)))] = odd(rng)
        rows: Any = odd(rng) if rng.integers(10) == 0 else [row]
        told = result_complaint(rows, "a", PAIRS, "test", {"personal"}, {pair.task: 1000 for pair in PAIRS})
        assert told is None or (isinstance(told, str) and "\n" not in told), at
        if told is None and rows:
            accepted += 1
            assert rows == [row], at
            assert row["metric"] in TYPES[pair.type], at
            assert row["value"] is None or number(row["value"], *LIMITS[row["metric"]]), (at, row)
            assert number(row["n"], 1, 1000, int), (at, row)
            assert {row[name] for name in ("client", "split")} == {"a", "test"}, at
            assert row["model"] == "personal", at
            assert (row["task"], row["family"]) == (pair.task, pair.family), at
    print(f"{ROWS} rows, {accepted} accepted, all within range")
    assert 0 < accepted < ROWS / 2
