"""What a run showed, beside what the theory said of it before: from the plan and the event log, nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fedtap.theory.bound import Bound, ComponentTerms, bound, largest_step

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ComponentObserved:
    r"""One component: ``updates`` is how many rounds trained it, ``rho`` the mean of 1 / a over them (None without any).

    ``seen`` are its measurements, oldest first (events ``theory_component``; none unless the run had ``theory: on``).
    """

    plan: Mapping[str, Any]
    updates: int
    expected: float
    rho: float | None
    seen: Sequence[Event]

    @property
    def name(self) -> str:
        """The component."""
        return str(self.plan["component"])

    def mean(self, what: str) -> float | None:
        """Return the mean of a measured quantity over the looks."""
        return fmean(float(each[what]) for each in self.seen) if self.seen else None

    @property
    def between(self) -> float | None:
        """The share of the holders' dissimilarity that lies between holders with different tasks, from 0 to 1."""
        whole, pairs = self.mean("zeta2"), self.mean("zeta2_pairs")
        if whole is None or pairs is None or whole <= 0:
            return None
        return min(1.0, max(0.0, pairs / whole))

    @property
    def last(self) -> Event:
        """The newest measurement."""
        return self.seen[-1] if self.seen else {}


@dataclass(frozen=True, slots=True)
class Observed:
    """A run: the rounds that are done, its components in the plan's order, and its looks (events ``theory``)."""

    plan: Mapping[str, Any]
    rounds: int
    components: tuple[ComponentObserved, ...]
    looks: Sequence[Event]

    def apart(self) -> list[tuple[str, str, str, float]]:
        """Return (component, task, task, cosine) at the last look where two tasks pull against each other, the worst first."""
        found = [
            (part.name, str(part.last["apart"][0]), str(part.last["apart"][1]), float(part.last["apart"][2]))
            for part in self.components
            if part.last.get("apart")
        ]
        return sorted((each for each in found if each[3] < 0), key=lambda each: each[3])

    @property
    def left(self) -> float | None:
        r"""The left side of Theorem 1, :math:`\sum_k \pi_k q_k \|G_k\|^2`, averaged over the looks."""
        if not self.looks:
            return None
        return sum(_weight(self, part) * (part.mean("gradient2") or 0.0) for part in self.components)

    def right(self, *, rate: float, steps: int) -> tuple[Bound | None, float, float]:
        """Return Theorem 1's right side for a run of plain SGD, the step that it took, and the longest that it allows.

        F* is taken to be 0, L the largest that was seen, which may be too small. Of a step that is too long there is no bound.
        """
        smoothness = max(float(look["smoothness"]) for look in self.looks)
        tie = float(self.plan["tie"])
        step, longest = rate * steps, largest_step(max(smoothness, 1e-12), steps, tie)
        if step > longest or not self.rounds:
            return None, step, longest
        parts = [
            ComponentTerms(
                share=len(part.plan["holders"]) / float(self.plan["clients"]),
                pi=float(part.plan["pi"]),
                rho=float(part.plan["rho"]),
                phi=float(part.plan["phi"]),
                most=float(part.plan["most"]),
                dissimilarity=max(0.0, part.mean("zeta2") or 0.0),
                noise=max((float(each["noise2_most"]) for each in part.seen), default=0.0),
            )
            for part in self.components
        ]
        gap = float(self.looks[0]["loss"])
        return bound(parts, gap=gap, smoothness=smoothness, rate=rate, steps=steps, rounds=self.rounds), step, longest


def observed(plan: Mapping[str, Any], events: Sequence[Event]) -> Observed:
    """Return what the events of a run say of the components of its plan (:meth:`fedtap.theory.plan.FederationPlan.to_json`)."""
    rounds = [set(event["clients"]) for event in events if event["event"] == "round_finished"]
    seen: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["event"] == "theory_component":
            seen[event["component"]].append(event)
    parts = []
    for component in plan["components"]:
        holders = set(component["holders"])
        drawn = [count for answered in rounds if (count := len(holders & answered))]
        parts.append(
            ComponentObserved(
                plan=component,
                updates=len(drawn),
                expected=len(rounds) * float(component["pi"]),
                rho=fmean(1 / count for count in drawn) if drawn else None,
                seen=seen[component["component"]],
            )
        )
    return Observed(plan, len(rounds), tuple(parts), [event for event in events if event["event"] == "theory"])


def logged_plan(events: Sequence[Event]) -> Event | None:
    """Return the plan that a run with ``theory: on`` wrote down, or None."""
    return next((event for event in events if event["event"] == "theory_plan"), None)


def _weight(run: Observed, part: ComponentObserved) -> float:
    return float(part.plan["pi"]) * len(part.plan["holders"]) / float(run.plan["clients"])
