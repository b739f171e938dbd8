"""What a run's noise is worth to each client, summed from its event log, so that it spans all attempts at the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedtap.privacy.accounting import epsilon
from fedtap.scenario.scenario import Scenario


def guarantee(scenario: Scenario, events: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return, JSON-ready, each kind of noise with the epsilon of every client that took part; None without noise.

    ``central``: of a client's whole part in training, by the rounds that took up an update of it, none of them amplified by
    sampling. ``local``: of one of its training examples, by its private steps; a round whose reply was refused, never came or
    changed nothing is counted with all of a round's steps, since somebody may have seen the reply.
    """
    privacy = scenario.privacy
    if not privacy.noised:
        return None
    found: dict[str, Any] = {"delta": privacy.delta, "noise_source": privacy.noise_source}
    told = list(events)
    if privacy.central is not None:
        rounds = Counter(str(event["client"]) for event in told if event["event"] == "update")
        spent = {
            client: epsilon([(privacy.central.noise, 1.0, number)], privacy.delta)
            for client, number in sorted(rounds.items())
        }
        found["central"] = {**privacy.central.model_dump(mode="json"), "unit": "client", "epsilon": spent}
    if privacy.local is not None:
        spent = {
            client: epsilon([(privacy.local.noise, *group) for group in sorted(groups.items())], privacy.delta)
            for client, groups in sorted(_private_steps(scenario, told).items())
        }
        found["local"] = {**privacy.local.model_dump(mode="json"), "unit": "example", "epsilon": spent}
    return found


def _private_steps(scenario: Scenario, events: Sequence[Mapping[str, Any]]) -> dict[str, Counter[float]]:
    """Return for each client its private steps by the probability of an example in each."""
    steps: dict[str, Counter[float]] = {}
    counted: set[tuple[str, int]] = set()
    asked: set[tuple[str, int]] = set()
    for event in events:
        if event["event"] == "private_steps":
            counted.add((str(event["client"]), int(event["round"])))
            steps.setdefault(str(event["client"]), Counter())[float(event["rate"])] += int(event["steps"])
        elif event["event"] in ("update", "failed", "rejected") and event["round"] <= scenario.rounds:
            asked.add((str(event["client"]), int(event["round"])))
    for client, _ in sorted(asked - counted):
        its = steps.setdefault(client, Counter())
        its[max(its, default=1.0)] += scenario.local_steps
    return steps
