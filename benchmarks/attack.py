"""What one hostile site of five does to the others: it sends the opposite of what it learned, as large as it is or ten times.

    python benchmarks/attack.py

Five sites in every round; the first one attacks. Quality is the mean accuracy of the four honest sites, its loss that against the
plain mean without an attack. Writes ``benchmarks/results/attack.json`` and ``attack.md``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from five_sites import ATTACKER, federate, scenario, write

from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.federation.transport import Transport

SEEDS = tuple(range(6))
STRENGTHS = (0, 1, 10)
DEFENCES: dict[str, dict[str, Any]] = {
    "plain mean": {},
    "norm at most 1 x median": {"norm_ratio": 1.0},
    "median": {"mean": "median"},
    "trimmed mean": {"mean": "trimmed_mean"},
    "Krum, 2 of 5": {"mean": "krum"},
}


class SignFlip:
    """A transport by which one client's change arrives with the opposite sign, times a strength (0: as it is)."""

    def __init__(self, inner: Transport, strength: float) -> None:
        self._inner = inner
        self._strength = strength

    def clients(self) -> Sequence[ClientCard]:
        return self._inner.clients()

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        sent = {request.client: request.components for request in requests}
        for answer in self._inner.exchange(requests, timeout=timeout):
            if isinstance(answer, Reply) and answer.client == ATTACKER and self._strength:
                was, update = sent[ATTACKER], answer.update
                change = update.components.zip(torch.sub, was)
                hostile = was.zip(lambda value, moved: value - self._strength * moved, change)
                answer = replace(answer, update=replace(update, components=hostile))
            yield answer


def main() -> None:
    """Run every defence against every strength with every seed."""
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for name, defence in DEFENCES.items():
            for strength in STRENGTHS:
                settings = scenario(defence=defence)
                done = federate(settings, seed, wrap=lambda inner, strength=strength: SignFlip(inner, strength))
                honest = {model: done.accuracy(model, (ATTACKER,)) for model in ("federated", "personal")}
                rows.append(
                    {"seed": seed, "defence": name, "strength": strength, **honest, "rejected": done.count("rejected")}
                )
                print(rows[-1], flush=True)
    heads = [
        f"{model}, {'no attack' if s == 0 else f'x {s}'}" for model in ("federated", "personal") for s in STRENGTHS
    ]
    lines = [f"| relative loss of accuracy, % | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in DEFENCES:
        cells = [loss(rows, name, model, s) for model in ("federated", "personal") for s in STRENGTHS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    write("attack", rows, "\n".join(lines))


def loss(rows: Sequence[dict[str, Any]], name: str, model: str, strength: int) -> str:
    """Return the mean loss over seeds against the plain mean without an attack, with the standard deviation of several."""
    base = {row["seed"]: row[model] for row in rows if row["defence"] == "plain mean" and row["strength"] == 0}
    mine = [row for row in rows if row["defence"] == name and row["strength"] == strength]
    losses = [100 * (base[row["seed"]] - row[model]) / base[row["seed"]] for row in mine]
    mean = f"{statistics.fmean(losses):.1f}"
    return f"{mean} ± {statistics.stdev(losses):.1f}" if len(losses) > 1 else f"{mean} (one seed)"


if __name__ == "__main__":
    main()
