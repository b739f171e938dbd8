"""Made-up outcomes of methods for tests of advice: gains over a base, by seed and client, without a run."""

from collections.abc import Callable, Mapping

import numpy as np

from fedtap.study.advice.halving import Rung
from fedtap.study.statistics import Gain

Outcome = Callable[[int, int], float]
"""(seed, client) -> the gain over the base, in percent."""


def gains_of(outcome: Outcome, seeds: tuple[int, ...], clients: int) -> list[Gain]:
    """Return a task's gains at each client with each seed; the metric's value is that of the percentage."""
    return [
        Gain(seed, f"c{client}", "t", "f", "accuracy", 1 + percent / 100, 1.0, percent, (percent > 0) - (percent < 0))
        for seed in seeds
        for client in range(clients)
        for percent in [outcome(seed, client)]
    ]


class World:
    """Methods whose outcomes are made up, and the rungs that were played; those in ``failing`` leave no gains."""

    def __init__(self, outcomes: Mapping[str, Outcome], clients: int = 6, failing: tuple[str, ...] = ()) -> None:
        self.outcomes = {"local": lambda seed, client: 0.0, **outcomes}
        self.clients = clients
        self.failing = failing
        self.played: list[Rung] = []

    def play(self, rung: Rung) -> dict[str, list[Gain]]:
        """Do a rung."""
        self.played.append(rung)
        runners = [label for label in rung.runners if label not in self.failing]
        return {label: gains_of(self.outcomes[label], rung.seeds, self.clients) for label in runners}


def noisy(mean: float, spread: float, key: int) -> Outcome:
    """Return outcomes around a mean, the same whenever they are asked for."""

    def outcome(seed: int, client: int) -> float:
        return mean + spread * float(np.random.default_rng((key, seed, client)).normal())

    return outcome


def by_client(*percents: float) -> Outcome:
    """Return outcomes that no seed changes: one for each client."""
    return lambda seed, client: percents[client]
