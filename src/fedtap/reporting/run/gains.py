"""A run's deployed model against its others, client-task by client-task: gains, whether they are more than chance, who is hurt.

Pure: standings and outcomes in, numbers out. Not here: how they are shown (``headline.py``, ``gain_sections.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fedtap.metrics.differences import FEWEST, holm, paired_p, relative_gain, shares_p
from fedtap.metrics.table import HIGHER_IS_BETTER
from fedtap.reporting.run.outcomes import Kept, values_of
from fedtap.reporting.run.standings import FamilyStanding, Standing, better

LEVEL = 0.05
SHARES = frozenset({"accuracy", "exact_match"})
"""Metrics that are shares of examples, which can be tested without the outcomes of single ones."""
Outcomes = Mapping[str, Mapping[str, Kept]]


@dataclass(frozen=True, slots=True)
class GainCell:
    """A model against another on one client's task.

    ``percent`` is the relative gain, positive where the model is better; None where the other's value is 0. ``order`` is 1 where
    the model is ahead, -1 where it is behind, 0 where they are equal. ``p`` is the paired test's, after Holm's correction for all
    client-tasks of the comparison; None where nothing can be said.
    """

    client: str
    task: str
    family: str
    metric: str
    value: float
    base: float
    percent: float | None
    order: int
    p: float | None

    @property
    def beyond_noise(self) -> bool:
        """Whether the difference is more than chance at 5 %."""
        return self.p is not None and self.p < LEVEL and self.order != 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model against another on all client-tasks that both have, and what follows from it."""

    ours: str
    other: str
    cells: Sequence[GainCell]
    paired: bool
    """Whether every test is of outcomes on the same examples."""

    def count(self, order: int, *, beyond: bool = False) -> int:
        """Return on how many client-tasks the model is ahead (1), behind (-1) or level (0)."""
        return sum(cell.order == order and (cell.beyond_noise or not beyond) for cell in self.cells)

    @property
    def mean(self) -> float | None:
        """The mean relative gain over client-tasks, in percent."""
        known = [cell.percent for cell in self.cells if cell.percent is not None]
        return fmean(known) if known else None

    @property
    def by_client(self) -> dict[str, list[float]]:
        """The relative gains of each client's tasks."""
        found: dict[str, list[float]] = {}
        for cell in self.cells:
            if cell.percent is not None:
                found.setdefault(cell.client, []).append(cell.percent)
        return found

    @property
    def interval(self) -> tuple[float, float] | None:
        r"""The 95 % interval of the mean over clients; None for fewer than five, who say too little of others.

        Of the ratio of a client's summed gains and its number of tasks, by linearisation, with Student's t: as
        :func:`fedtap.study.paired.two_way_p` does with one seed.
        """
        gains, mean = self.by_client, self.mean
        if mean is None or len(gains) < FEWEST:
            return None
        tasks, clients = sum(map(len, gains.values())), len(gains)
        rest = [(math.fsum(each) - len(each) * mean) * clients / tasks for each in gains.values()]
        from scipy.special import stdtrit

        error = math.sqrt(math.fsum(r * r for r in rest) / (clients - 1) / clients)
        half = float(stdtrit(clients - 1, 0.975)) * error
        return mean - half, mean + half

    @property
    def hurt(self) -> list[tuple[str, float]]:
        """The clients whose mean gain is below 0, the worst first."""
        means = [(client, fmean(gains)) for client, gains in self.by_client.items()]
        return sorted(((client, mean) for client, mean in means if mean < 0), key=lambda each: (each[1], each[0]))

    @property
    def worst(self) -> list[GainCell]:
        """The tenth of the client-tasks that gain least, one at the least, the worst first."""
        known = sorted(
            (cell for cell in self.cells if cell.percent is not None),
            key=lambda cell: (cell.percent or 0.0, cell.client, cell.task),
        )
        return known[: math.ceil(len(known) / 10)]


def compare(standings: Sequence[Standing], ours: str, other: str, outcomes: Outcomes) -> Comparison:
    """Return a model against another, on the client-tasks that have both."""
    cells: list[GainCell] = []
    paired = True
    for standing in standings:
        if ours not in standing.values or other not in standing.values:
            continue
        value, base = standing.values[ours], standing.values[other]
        p, same = difference_p(standing, ours, other, outcomes)
        paired = paired and same
        cells.append(
            GainCell(
                standing.client,
                standing.task,
                standing.family,
                standing.metric,
                value,
                base,
                relative_gain(value, base, HIGHER_IS_BETTER[standing.metric]),
                int(better(standing.metric, value, base)) - int(better(standing.metric, base, value)),
                p,
            )
        )
    adjusted = holm([cell.p for cell in cells])
    return Comparison(ours, other, [replace(cell, p=p) for cell, p in zip(cells, adjusted, strict=True)], paired)


def difference_p(standing: Standing, one: str, other: str, outcomes: Outcomes) -> tuple[float | None, bool]:
    """Return the p-value of two models' difference, uncorrected, and whether it is of the same examples.

    Without outcomes of single examples, shares are tested as if of different ones, and of other metrics nothing is said.
    """
    values = values_of(outcomes, standing.client, standing.task, standing.metric)
    if one in values and other in values:
        return paired_p(values[one], values[other]), True
    if standing.metric in SHARES:
        return shares_p(standing.values[one], standing.values[other], standing.n), False
    return None, False


@dataclass(frozen=True, slots=True)
class Marks:
    """What may be said of the models of one row: which is the best, if one stands out; which are level with it; None: unknown."""

    best: str | None
    level: frozenset[str]


def marks(standing: Standing, outcomes: Outcomes) -> Marks | None:
    """Return which model is better than every other by more than chance, or which cannot be told from the best.

    Holm's correction is for the comparisons of the row. None where nothing is known of chance, or there is one model.
    """
    if len(standing.values) < 2:
        return None
    first = min(standing.best)
    others = [name for name in standing.values if name != first]
    return _marked(first, others, [difference_p(standing, first, other, outcomes)[0] for other in others])


def family_marks(family: FamilyStanding, standings: Iterable[Standing]) -> Marks | None:
    """Return the same of a family's means, tested over its client-tasks; None where there are fewer than five."""
    members = [each for each in standings if (each.family, each.metric) == (family.family, family.metric)]
    if len(family.values) < 2:
        return None
    first = min(family.best)
    others = [name for name in family.values if name != first]
    columns = {name: [each.values[name] for each in members] for name in family.values}
    return _marked(first, others, [paired_p(columns[first], columns[other]) for other in others])


def _marked(first: str, others: Sequence[str], p_values: Sequence[float | None]) -> Marks | None:
    if any(p is None for p in p_values):
        return None
    adjusted = holm(p_values)
    level = {name for name, p in zip(others, adjusted, strict=True) if p is not None and p >= LEVEL}
    return Marks(None, frozenset({first, *level})) if level else Marks(first, frozenset())
