r"""The map of a linear toy: the same two axes, and nothing of a network, of features or of metrics between cause and effect.

Client i has :math:`y = x^\top \theta_i + \varepsilon`, with 20 independent normal features and noise of standard deviation 0.5.
Clients who agree have one :math:`\theta` of norm 1; those in conflict have one each, drawn alike. All take plain gradient steps
on all of their examples, as many with every method; risk is exact, :math:`\|w - \theta_i\|^2`. Not here: what the map of the
product says (effects.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedtap.runtime.randomness import numpy_generator
from fedtap.study.regimes.design import CLIENTS, CONFLICTS, DRAWN, EXAMPLES

Vector: TypeAlias = NDArray[np.float64]
FEATURES, NOISE, RATE = 20, 0.5, 0.05
ROUNDS, STEPS, FINISH = 15, 10, 20
SEEDS = 20
MARGIN = 0.01
Gate: TypeAlias = Callable[["Site", Vector, Vector], bool]
"""Whether a personal model (the last) adopts the federated one."""


@dataclass(frozen=True, slots=True)
class Site:
    """A client's truth, and its examples to train with and to judge with."""

    truth: Vector
    x: Vector
    y: Vector
    x_judge: Vector
    y_judge: Vector

    def trained(self, w: Vector, steps: int) -> Vector:
        """Return w after gradient steps on the mean squared error of all training examples."""
        gram, pull = self.x.T @ self.x / len(self.y), self.x.T @ self.y / len(self.y)
        for _ in range(steps):
            w = w - 2 * RATE * (gram @ w - pull)
        return w

    def loss(self, w: Vector) -> float:
        """Return the training loss."""
        return float(np.mean((self.x @ w - self.y) ** 2))

    def judged(self, w: Vector) -> float:
        """Return the loss on the examples to judge with."""
        return float(np.mean((self.x_judge @ w - self.y_judge) ** 2))

    def risk(self, w: Vector) -> float:
        """Return the excess risk."""
        return float(np.sum((w - self.truth) ** 2))


def by_training_loss(site: Site, federated: Vector, personal: Vector) -> bool:
    """Adopt what is better on the training examples by the margin: the paper's gate."""
    return site.loss(federated) + MARGIN < site.loss(personal)


def by_validation(site: Site, federated: Vector, personal: Vector) -> bool:
    """Adopt what is better on examples that neither was trained with."""
    return site.judged(federated) < site.judged(personal)


def toy_map(
    conflicts: tuple[float, ...] = CONFLICTS, examples: tuple[int, ...] = EXAMPLES, *, seeds: int = SEEDS
) -> list[dict[str, Any]]:
    """Return for each cell the mean risk of each method over clients and seeds: ``conflict``, ``examples``, ``risk``."""
    return [
        {"conflict": conflict, "examples": number, "risk": _mean([risks(conflict, number, s) for s in range(seeds)])}
        for conflict in conflicts
        for number in examples
    ]


def risks(conflict: float, examples: int, seed: int) -> dict[str, float]:
    """Return the mean risk of each method over the clients of one toy federation."""
    sites = _sites(conflict, examples, seed)
    generator = numpy_generator(seed, "toy", "clients of a round")
    drawn = [generator.choice(CLIENTS, DRAWN, replace=False) for _ in range(ROUNDS)]
    zero = np.zeros(FEATURES)
    turns = [sum(number in each for each in drawn) for number in range(CLIENTS)]
    alone = [site.trained(zero, turn * STEPS + FINISH) for site, turn in zip(sites, turns, strict=True)]
    halves = [site.trained(zero, (turn * STEPS + FINISH) // 2) for site, turn in zip(sites, turns, strict=True)]
    shared = _averaged(sites, drawn, STEPS)
    tuned = [site.trained(shared, FINISH) for site in sites]
    shared_half = _averaged(sites, drawn, STEPS // 2)
    tuned_half = [site.trained(shared_half, FINISH // 2) for site in sites]
    chosen = [min(pair, key=site.judged) for site, *pair in zip(sites, halves, tuned_half, strict=True)]
    found: Mapping[str, list[Vector]] = {
        "local": alone,
        "fedavg_ft": tuned,
        "choice": chosen,
        "tap, training losses": _tap(sites, drawn, by_training_loss),
        "tap, validation": _tap(sites, drawn, by_validation),
    }
    return {
        name: float(np.mean([site.risk(w) for site, w in zip(sites, models, strict=True)]))
        for name, models in found.items()
    }


def _sites(conflict: float, examples: int, seed: int) -> list[Site]:
    generator = numpy_generator(seed, "toy", "sites")
    common = _direction(generator)
    sites = []
    for number in range(CLIENTS):
        own = _direction(generator)
        truth = own if number < round(conflict * CLIENTS) else common
        x = generator.normal(size=(examples + examples // 2, FEATURES))
        y = x @ truth + NOISE * generator.normal(size=len(x))
        sites.append(Site(truth, x[:examples], y[:examples], x[examples:], y[examples:]))
    return sites


def _direction(generator: np.random.Generator) -> Vector:
    drawn: Vector = generator.normal(size=FEATURES)
    drawn /= np.linalg.norm(drawn)
    return drawn


def _averaged(sites: list[Site], drawn: list[NDArray[np.int64]], steps: int) -> Vector:
    """Return the model after all rounds of averaging."""
    w: Vector = np.zeros(FEATURES)
    for taken in drawn:
        w = np.mean([sites[number].trained(w, steps) for number in taken], axis=0)
    return w


def _tap(sites: list[Site], drawn: list[NDArray[np.int64]], gate: Gate) -> list[Vector]:
    """Return the personal models of TAP's first stage, with the steps split between the two models, each finished."""
    w: Vector = np.zeros(FEATURES)
    personal: list[Vector | None] = [None] * CLIENTS
    for taken in drawn:
        sent = []
        for number in taken:
            site, own = sites[number], personal[number]
            sent.append(site.trained(w, STEPS // 2))
            adopted = own is None or gate(site, sent[-1], own)
            personal[number] = site.trained(sent[-1] if adopted or own is None else own, STEPS // 2)
        w = np.mean(sent, axis=0)
    return [site.trained(w if own is None else own, FINISH // 2) for site, own in zip(sites, personal, strict=True)]


def _mean(each: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([risk[name] for risk in each])) for name in each[0]}
