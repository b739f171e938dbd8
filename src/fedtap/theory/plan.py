"""What a federation's holdings say before any training: how often each component is trained, how well averaged, what is scarce.

Not here: who holds what, which the caller knows, and how it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt
from statistics import fmean
from typing import Any

from fedtap.theory.bound import ties
from fedtap.theory.counts import WeightedSampling, weighted_sampling
from fedtap.theory.sampling import Sampling, drawn_for
from fedtap.theory.sampling import sampling as uniform
from fedtap.theory.unequal import coverage_chances, trained

STARVES = 0.5
"""A component starves that is trained less than this share of the rounds in which the most trained one is."""


@dataclass(frozen=True, slots=True)
class ComponentPlan:
    r"""What one component has to expect.

    ``holders`` are clients, ``tasks`` those of all clients whose path uses it. ``most`` is :math:`\hat\pi`, the largest pi of
    what some client holds beside it. ``counts`` are the sampling quantities with holders weighed by examples, ``floor`` their chi
    for the objective in which every example counts alike, whoever holds it. ``updates`` are the rounds that train it, expected.
    """

    component: str
    holders: tuple[str, ...]
    tasks: tuple[str, ...]
    sampling: Sampling
    most: float
    counts: WeightedSampling
    floor: float
    updates: float
    starves: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        of = self.sampling
        return {
            "component": self.component,
            "holders": list(self.holders),
            "tasks": list(self.tasks),
            "pi": of.pi,
            "rho": of.rho,
            "phi": of.phi,
            "most": self.most,
            "price": of.price,
            "updates": self.updates,
            "starves": self.starves,
            "counts": {"rho": self.counts.rho, "phi": self.counts.phi, "floor": self.floor, "exact": self.counts.exact},
        }


@dataclass(frozen=True, slots=True)
class FederationPlan:
    """A federation's components, the most starved first; ``tie`` is r of the theorem, ``pairs`` its modality-task pairs.

    ``chances`` are those of the clients' coins with ``sampling`` by coverage (None otherwise), ``covered`` is the least pi that
    coverage gives, or would give.
    """

    clients: int
    drawn: int
    rounds: int
    steps: int
    pairs: int
    components: tuple[ComponentPlan, ...]
    tie: float
    sampling: str
    chances: Mapping[str, float] | None
    covered: float

    @property
    def starving(self) -> tuple[ComponentPlan, ...]:
        """The components that starve."""
        return tuple(part for part in self.components if part.starves)

    @property
    def price(self) -> float:
        """The mean over clients of the highest price of a component that they hold: 1 where every client holds everything."""
        highest: dict[str, float] = {}
        for part in self.components:
            for client in part.holders:
                highest[client] = max(highest.get(client, 0.0), part.sampling.price)
        return fmean(highest.values())

    @property
    def shorter(self) -> float:
        """How many times shorter than with equal holders the theorem wants the step."""
        return max(1.0, sqrt((1 - 1 / self.steps) * self.tie))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "clients": self.clients,
            "clients_per_round": self.drawn,
            "rounds": self.rounds,
            "pairs": self.pairs,
            "sampling": self.sampling,
            "chances": None if self.chances is None else dict(self.chances),
            "tie": self.tie,
            "step_shorter": self.shorter,
            "price": self.price,
            "components": [part.to_json() for part in self.components],
            "advice": self.advice(),
        }

    def advice(self) -> list[str]:
        """Return in plain lines what is scarce here, and what would change it."""
        lines = [
            f"{_number(self.pairs, 'pair')} on {_number(self.clients, 'client')}, {self.drawn} a round. The component with the "
            f"highest price that a client holds has a price of {self.price:.3g} (mean over clients). A price is the bound's: a "
            "guide, proved where pairs are of one size and holders count alike."
        ]
        starving = self.starving
        if starving:
            least = starving[0]
            top = max((part.sampling for part in self.components), key=lambda of: of.pi)
            held = len(least.holders)
            starve = "starves" if len(starving) == 1 else "starve"
            lines.append(
                f"{len(starving)} of {_number(len(self.components), 'component')} {starve}: trained less than half as often as "
                f"the most trained. The least: {least.component}, held by {held} of {self.clients}, in about "
                f"{least.updates:.0f} of {self.rounds} rounds."
            )
            lines.append(
                f"To feed it: {self._more_clients(least, top)}"
                f"rounds={ceil(self.rounds * top.pi / least.sampling.pi)} give it as many updates as the most trained component "
                "has now; or let more clients hold it (tasks that share a `head` or a `domain`; `network: plain`)."
            )
        else:
            lines.append("No component starves: none is trained less than half as often as the most trained.")
        alone = [part.component for part in self.components if len(part.holders) == 1]
        if alone and self.clients > 1:
            lines.append(
                f"{_number(len(alone), 'component')} of one client alone ({_some(alone)}): nothing is averaged there, and only "
                "newcomers gain by their being sent; a method that keeps heads at home (`fedper`, `fedrep`) saves bytes."
            )
        shared = [part.component for part in self.components if len(part.tasks) > 1]
        if shared:
            lines.append(
                f"{_number(len(shared), 'component')} used by several tasks ({_some(shared)}): where pairs can pull apart, or "
                "help each other. `theory: on` measures how far their gradients are apart."
            )
        if self.sampling == "coverage":
            lines.append(
                "Drawn by coverage: the fewer hold the rarest component of a client, the more often it is drawn, and weighs 1 / "
                "chance as much where several are averaged; the least trained component is trained in "
                f"{min(part.sampling.pi for part in self.components):.0%} of rounds."
            )
        if self.shorter > 1.005:
            lines.append(
                f"Some client holds components of which one is trained {self.tie:.3g} times as often as another; the theorem "
                f"then wants steps {self.shorter:.3g} times shorter than with equal holders."
            )
        worst = max(self.components, key=lambda part: part.floor)
        if worst.floor > 0.05:
            lines.append(
                f"Weights: {worst.component} is averaged with other shares than in the objective in which every "
                f"example counts alike; where plain SGD comes to rest its gradient may still be as long as up to "
                f"{worst.floor:.2f} times the holders' distance from their mean gradient (root mean square)."
            )
        return lines

    def _more_clients(self, least: ComponentPlan, top: Sampling) -> str:
        """Return what drawing more, or other, clients would do for the component that is trained least."""
        if self.sampling == "coverage":
            return ""
        held = len(least.holders)
        drawn = drawn_for(self.clients, held, beside=top.holders, share=STARVES)
        more = f"clients_per_round={drawn} trains it in {uniform(self.clients, held, drawn).pi:.0%} of rounds; or "
        if self.covered > least.sampling.pi + 0.005:
            more += f"sampling=coverage trains every component in at least {self.covered:.0%} of them, at as many steps; or "
        return more


def federation_plan(
    holdings: Mapping[str, Mapping[str, float]],
    tasks: Mapping[str, Sequence[str]],
    *,
    examples: Mapping[str, float],
    drawn: int,
    rounds: int,
    steps: int,
    pairs: int,
    sampling: str = "dealt",
) -> FederationPlan:
    """Return what a federation's components have to expect.

    Parameters
    ----------
    holdings
        For each client that trains: the components that it holds, each with its weight in the mean (training examples).
    tasks
        For each component the tasks whose path uses it.
    examples
        For each client its training examples in all.
    drawn
        Clients a round; all of them if there are fewer.
    rounds, steps
        Rounds in all, and local steps in each.
    pairs
        How many modality-task pairs there are.
    sampling
        How a round's clients are chosen. In each round by itself all sets are alike where they are dealt or drawn uniformly.

    Raises
    ------
    ValueError
        If nobody holds anything.
    """
    holders: dict[str, list[str]] = {}
    for client, held in holdings.items():
        for component in held:
            holders.setdefault(component, []).append(client)
    if not holders:
        raise ValueError("no client holds a component that is averaged")
    clients, drawn = len(holdings), min(drawn, len(holdings))
    coins = coverage_chances(holdings, drawn)
    chances = coins if sampling == "coverage" else None

    def mine(who: Sequence[str]) -> list[float]:
        return [coins[client] for client in who]

    everyone = Counter(coins.values())

    def others(who: tuple[str, ...]) -> Counter[float]:
        return everyone - Counter(mine(who))

    @cache  # most components of a federation have the holders of another
    def weighed(who: tuple[str, ...], weights: tuple[float, ...]) -> WeightedSampling:
        if chances is None:
            return weighted_sampling(weights, clients=clients, drawn=drawn)
        lighter = [weight / coins[client] for client, weight in zip(who, weights, strict=True)]
        return weighted_sampling(lighter, clients=clients, drawn=drawn, chances=mine(who), others=others(who))

    @cache
    def alike(who: tuple[str, ...]) -> Sampling:
        if chances is None:
            return uniform(clients, len(who), drawn)
        counts = weighed(who, (1.0,) * len(who))
        return Sampling(clients, len(who), drawn, counts.pi, counts.rho, counts.phi)

    @cache
    def covered(who: tuple[str, ...]) -> float:
        return trained(Counter(mine(who)), others(who), drawn)

    found = {component: alike(tuple(who)) for component, who in holders.items()}
    most, tie = ties({component: of.pi for component, of in found.items()}, holdings)
    top = max(of.pi for of in found.values())

    parts = []
    for component, who in holders.items():
        counts = weighed(tuple(who), tuple(holdings[client][component] for client in who))
        parts.append(
            ComponentPlan(
                component=component,
                holders=tuple(who),
                tasks=tuple(sorted(tasks.get(component, ()))),
                sampling=found[component],
                most=most[component],
                counts=counts,
                floor=counts.floor([examples[client] for client in who]),
                updates=rounds * found[component].pi,
                starves=found[component].pi < STARVES * top - 1e-12,  # half is enough
            )
        )
    parts.sort(key=lambda part: (part.sampling.pi, part.component))
    least = min(covered(part.holders) for part in parts)
    return FederationPlan(clients, drawn, rounds, steps, pairs, tuple(parts), tie, sampling, chances, least)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
