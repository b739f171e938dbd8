r"""Successive halving over seeds: who runs with more of them, who is out, and when to stop. Pure: gains in, decisions out.

Every run is a whole run; what grows from rung to rung is the number of seeds (3, 6, 12, ...; Jamieson and Talwalkar 2016,
arXiv 1502.07943, halve over training time instead, which would judge a federation that nobody asked about). After each rung every
method is held against the one with the highest mean gain, the leader, client-task by client-task. It is out if it is behind by
more than noise,

.. math:: \bar d < 0, \qquad p \cdot (k - 1) \cdot R < 0.05, \qquad \text{and its interval, where it has one, lies below } 0,

with p of :func:`fedtap.study.paired.two_way_p`, k methods in the rung and R rungs planned. Whoever leads, the truly best method
is thrown out only if one of its k - 1 tests in one of R rungs errs, and errs to one side: by the union bound in at most 2.5 % of
studies, as far as the test keeps its level; docs/advise.md has simulations. Means alone throw nobody out, unless the budget does
not pay for another seed of all; then the lower half is *set aside*, which says nothing against it.

To throw out takes this much; to advise against takes less. A method whose interval lies below 0 is *unlikely*: it runs on, for
more seeds may clear it, and where none are left it is not advised, however little it asks.

Not here: how runs are done (advise.py), and which of several that are left is advised (price.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fedtap.study.paired import Paired, compare_pair
from fedtap.study.statistics import Gain, Interval, mean_percent

LEVEL = 0.05
FIRST = 3
"""Seeds of the first rung. One says nothing of others; with two the test errs too often where seeds matter."""

Gains = Mapping[str, Sequence[Gain]]
"""Label -> its gains over the base, for the same seeds."""
Standing = Literal["behind", "unlikely", "level", "open"]
Stop = Literal["one", "level", "seeds", "budget", "failed"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What pilots may use.

    Parameters
    ----------
    base
        The method that gains are over; it runs with every seed, whether or not it is still in question.
    seeds
        All that there may be, in their order.
    budget
        How many runs there may be; None: as many as it takes.
    tolerance
        Points of percent: two methods whose difference is surely smaller are level.
    """

    base: str
    seeds: tuple[int, ...]
    budget: int | None = None
    tolerance: float = 1.0

    def sizes(self) -> list[int]:
        """Return how many seeds each rung has in all.

        >>> [Terms("local", tuple(range(n))).sizes() for n in (1, 3, 6, 8)]
        [[1], [3], [3, 6], [3, 6, 8]]
        """
        found = [min(FIRST, len(self.seeds))]
        while found[-1] < len(self.seeds):
            found.append(min(2 * found[-1], len(self.seeds)))
        return found


@dataclass(frozen=True, slots=True)
class Rung:
    """Runs to be done together: ``methods`` in question, and ``base``, with all of ``seeds``, the last ``added`` of them new.

    ``set_aside`` could not be paid for. ``last``: the budget ends with it.
    """

    methods: tuple[str, ...]
    base: str
    seeds: tuple[int, ...]
    added: int
    set_aside: tuple[str, ...] = ()
    last: bool = False

    @property
    def runners(self) -> tuple[str, ...]:
        """Who runs: the methods in question, and the base."""
        return tuple(sorted({*self.methods, self.base}))

    @property
    def runs(self) -> int:
        """How many runs it adds."""
        return len(self.runners) * self.added


@dataclass(frozen=True, slots=True)
class Rival:
    """A method against the leader of a rung: ``difference`` is below 0 where it is worse (:class:`fedtap.study.paired.Paired`).

    ``p_shared`` is p times the number of tests that the level is shared among. ``behind``: by more than noise. ``unlikely``:
    its interval lies below 0 (of fewer than five clients: p is below 0.05), and the shared level leaves it in question.
    ``level``: the interval lies within the tolerance. ``open``: none of these.
    """

    method: str
    difference: float | None
    ci95: Interval | None
    p: float | None
    p_shared: float | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class Look:
    """What a rung says: its leader, and all others by mean gain, the best first."""

    rung: Rung
    leader: str
    rivals: tuple[Rival, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The methods that are still in question, by mean gain, the best first."""
        return (self.leader, *(rival.method for rival in self.rivals if rival.standing != "behind"))

    @property
    def tied(self) -> tuple[str, ...]:
        """Those of :attr:`kept` that nothing speaks against: what asks least of them is as good a choice as any."""
        return (self.leader, *(rival.method for rival in self.rivals if rival.standing in ("open", "level")))

    @property
    def out(self) -> tuple[str, ...]:
        """The methods that are behind by more than noise."""
        return tuple(rival.method for rival in self.rivals if rival.standing == "behind")


@dataclass(frozen=True, slots=True)
class Race:
    """How it went: a look for each rung that said anything, the runs that were asked for, and why there is no further rung."""

    looks: tuple[Look, ...]
    spent: int
    stop: Stop


def halve(methods: Sequence[str], terms: Terms, play: Callable[[Rung], Gains]) -> Race:
    """Run rung after rung until one method is left, all that are left are level, or seeds or budget are used.

    Parameters
    ----------
    methods
        Labels, the base among them where it is in question too; their order does not matter.
    terms
        What may be used.
    play
        Does a rung's runs and returns the gains of its runners over all of its seeds; those it leaves out have failed, and are in
        question no more.
    """
    looks: list[Look] = []
    tests = len(terms.sizes())
    rung: Rung | None = _first(tuple(sorted(set(methods))), terms)
    spent = 0
    while rung is not None:
        spent += rung.runs
        gains = play(rung)
        known = {method: gains[method] for method in rung.methods if method in gains}
        if terms.base not in gains or not known or len({terms.base, *known}) < 2:
            return Race(tuple(looks), spent, "failed")
        look = judge(known, rung, looks=tests, tolerance=terms.tolerance)
        looks.append(look)
        stop = _stop(look, terms)
        if stop:
            return Race(tuple(looks), spent, stop)
        rung = _after(look, terms, spent)
    return Race(tuple(looks), spent, "budget")


def judge(gains: Gains, rung: Rung, *, looks: int, tolerance: float) -> Look:
    """Return who leads, and how all others stand to it, from their gains over the same base and seeds.

    ``looks`` is the number of rungs that the level is shared among. A difference that is surely within the tolerance is ``level``
    even where it is more than noise.
    """
    order = sorted(gains, key=lambda label: (-_mean(gains[label]), label))
    leader, others = order[0], order[1:]
    rivals = []
    for label in others:
        pair = compare_pair(gains[label], gains[leader])
        shared = None if pair.p is None else min(1.0, pair.p * len(others) * looks)
        rivals.append(
            Rival(
                label,
                pair.difference,
                pair.ci95,
                pair.p,
                shared,
                _standing(pair, shared, tolerance),
            )
        )
    return Look(rung, leader, tuple(rivals))


def _standing(pair: Paired, p_shared: float | None, tolerance: float) -> Standing:
    ends = pair.ci95
    if ends is not None and -tolerance <= ends[0] and ends[1] <= tolerance:
        return "level"
    if pair.difference is None or pair.p is None or p_shared is None or pair.difference >= 0:
        return "open"
    if not (ends[1] < 0 if ends is not None else pair.p < LEVEL):
        return "open"
    return "behind" if p_shared < LEVEL else "unlikely"


def _stop(look: Look, terms: Terms) -> Stop | None:
    if len(look.kept) == 1:
        return "one"
    if all(rival.standing in ("behind", "level") for rival in look.rivals):
        return "level"
    if len(look.rung.seeds) == len(terms.seeds):
        return "seeds"
    return "budget" if look.rung.last else None


def _first(methods: tuple[str, ...], terms: Terms) -> Rung:
    """Return the first rung; with fewer seeds where the budget does not pay for all of them, and one at the least."""
    size = terms.sizes()[0]
    each = len({*methods, terms.base})
    paid = size if terms.budget is None else min(size, max(1, terms.budget // each))
    return Rung(methods, terms.base, terms.seeds[:paid], paid, last=paid < size)


def _after(look: Look, terms: Terms, spent: int) -> Rung | None:
    """Return the next rung: more seeds for all that are left, as many as are paid for; None where not even two can have one."""
    have = len(look.rung.seeds)
    grow = next(size for size in terms.sizes() if size > have) - have
    left = math.inf if terms.budget is None else terms.budget - spent
    keep = list(look.kept)
    while True:
        each = len({*keep, terms.base})
        paid = int(min(grow, left // each))
        if paid >= 1:
            aside = tuple(look.kept[len(keep) :])
            last = paid < grow or bool(aside)
            return Rung(tuple(sorted(keep)), terms.base, terms.seeds[: have + paid], paid, aside, last)
        if len(keep) == 2:
            return None
        keep = keep[: (len(keep) + 1) // 2]


def _mean(gains: Sequence[Gain]) -> float:
    found = mean_percent(gains)
    return -math.inf if found is None else found
