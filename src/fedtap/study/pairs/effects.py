r"""What the losses of the study say together: three effects of K pairs against one, and how certain. Records in, numbers out.

All contrasts are of the log of a pair's loss, paired by pair and seed:

- *coverage*: private trunk, T1 minus T1/pi: what is lost since a pair's components are not trained in every round;
- *averaging*: private trunk, T1/pi, K minus one: what is lost since fewer are averaged when they are;
- *sharing*: shared minus private, T1/pi: the net of all that a shared trunk changes. Interference is in it, and so are the more
  examples behind one trunk; that of unlike less that of alike pairs is the nearest to
  interference alone;
- *sharing at T1*: the same at equal rounds;
- *decline*: shared trunk, T1, K minus one: what whoever adds pairs sees; it is coverage + averaging + sharing at T1.

What personal models win back is the same of the personal model's test loss over the served one's, both of one run, so that its
error is that of a paired difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, stdev
from typing import Any

from fedtap.study.pairs.design import Arm

Record = Mapping[str, Any]
MEASURED = ("training", "test", "personal")
WON = "personal over served"
OUTCOMES = (*MEASURED, WON)
"""Losses, and the ratio of two: of the personal model's test loss to the served one's."""
EFFECTS = ("coverage", "averaging", "sharing", "sharing at T1", "decline")
FEWEST_SEEDS = 3
"""With fewer, a standard error is over pairs."""

Unit = tuple[int, str]
"""A seed and a pair."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The mean of a difference of logs and its standard error: over the seeds' means, or over pairs where seeds are few."""

    mean: float
    error: float | None
    over: str

    @property
    def factor(self) -> float:
        """The mean as a ratio of losses."""
        return exp(self.mean)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"mean": self.mean, "se": self.error, "over": self.over, "factor": self.factor}


def contrast(differences: Mapping[Unit, float]) -> Contrast:
    """Return the mean over units.

    >>> contrast({(0, "a"): 1.0, (0, "b"): 2.0, (1, "a"): 3.0, (1, "b"): 4.0}).mean
    2.5
    """
    seeds = sorted({seed for seed, _ in differences})
    means = [_mean_of(differences, seed) for seed in seeds]
    if len(seeds) >= FEWEST_SEEDS:
        return Contrast(fmean(means), stdev(means) / sqrt(len(means)), "seeds")
    values = list(differences.values())
    return Contrast(fmean(means), stdev(values) / sqrt(len(values)) if len(values) > 1 else None, "pairs")


def _mean_of(values: Mapping[Unit, float], seed: int) -> float:
    return fmean(value for (of, _), value in values.items() if of == seed)


class Losses:
    """The logs of the losses by arm and unit, of one problem.

    With one pair there is one arm, which stands for all trunks and lengths. Alike pairs are one task under several names: one
    that was not trained alone is measured by the mean of those that were.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._logs: dict[tuple[str, Arm], dict[Unit, float]] = {}
        for record in records:
            if record["outcome"] in MEASURED:
                arm = Arm(record["kind"], record["pairs"], record["trunk"], record["length"])
                unit = int(record["seed"]), str(record["pair"])
                self._logs.setdefault((record["outcome"], arm), {})[unit] = log(record["value"])
        for arm in [arm for outcome, arm in self._logs if outcome == "personal"]:
            served = self.of("test", arm)
            own = self.of("personal", arm)
            self._logs[WON, arm] = {unit: own[unit] - served[unit] for unit in own.keys() & served.keys()}

    def of(self, outcome: str, arm: Arm) -> dict[Unit, float]:
        """Return the logs of an arm's losses."""
        return self._logs.get((outcome, arm), {})

    def alone(self, outcome: str, kind: str, units: Iterable[Unit]) -> dict[Unit, float]:
        """Return for each unit the log of its loss at K = 1, where there is one."""
        found = self.of(outcome, Arm(kind, 1, "shared", "T1"))
        means = {} if kind == "unlike" else {seed: _mean_of(found, seed) for seed in {seed for seed, _ in found}}
        either = {unit: found.get(unit, means.get(unit[0])) for unit in units}
        return {unit: value for unit, value in either.items() if value is not None}

    def relative(self, outcome: str, arm: Arm) -> Contrast | None:
        """Return an arm's losses against those at K = 1; None without."""
        mine = self.of(outcome, arm)
        return _difference(mine, self.alone(outcome, arm.kind, mine))

    def effects(self, outcome: str, kind: str, pairs: int) -> dict[str, Contrast]:
        """Return the effects of K pairs against one, those of which all arms are there."""

        def at(trunk: str, length: str) -> dict[Unit, float]:
            return self.of(outcome, Arm(kind, pairs, trunk, length))

        matched = at("private", "T1/pi")
        decline = at("shared", "T1")
        found = {
            "coverage": _difference(at("private", "T1"), matched),
            "averaging": _difference(matched, self.alone(outcome, kind, matched)),
            "sharing": _difference(at("shared", "T1/pi"), matched),
            "sharing at T1": _difference(decline, at("private", "T1")),
            "decline": _difference(decline, self.alone(outcome, kind, decline)),
        }
        return {name: each for name, each in found.items() if each is not None}


def _difference(one: Mapping[Unit, float], other: Mapping[Unit, float]) -> Contrast | None:
    units = sorted(one.keys() & other.keys())
    return contrast({unit: one[unit] - other[unit] for unit in units}) if units else None


def summary(
    records: Sequence[Record], kinds: Sequence[str], pairs: Sequence[int], lengths: Sequence[str]
) -> dict[str, Any]:
    """Return for each kind what pairs.json holds of a problem: losses against K = 1 by arm, effects, disagreement."""
    losses = Losses(records)
    found: dict[str, Any] = {}
    for kind in kinds:
        levels, effects = [], []
        for number in pairs:
            if number == 1:
                continue
            for outcome in OUTCOMES:
                for trunk in ("private", "shared"):
                    for length in lengths:
                        level = losses.relative(outcome, Arm(kind, number, trunk, length))
                        if level is not None:
                            about = {"pairs": number, "outcome": outcome, "trunk": trunk, "length": length}
                            levels.append({**about, **level.to_json()})
                for name, effect in losses.effects(outcome, kind, number).items():
                    effects.append({"pairs": number, "outcome": outcome, "effect": name, **effect.to_json()})
        alone = {outcome: losses.of(outcome, Arm(kind, 1, "shared", "T1")) for outcome in OUTCOMES}
        found[kind] = {
            "alone": {outcome: exp(fmean(logs.values())) for outcome, logs in alone.items() if logs},
            "levels": levels,
            "effects": effects,
            "zeta2_pairs": _means(records, kind, "zeta2_pairs"),
            "updates": _means(records, kind, "updates"),
        }
    return {kind: told for kind, told in found.items() if told["effects"]}


def _means(records: Sequence[Record], kind: str, outcome: str) -> list[dict[str, Any]]:
    """Return the mean over federations and seeds of what was measured once a federation, by arm."""
    values: dict[tuple[int, str, str], list[float]] = {}
    for record in records:
        if record["kind"] == kind and record["outcome"] == outcome:
            values.setdefault((record["pairs"], record["trunk"], record["length"]), []).append(record["value"])
    return [
        {"pairs": pairs, "trunk": trunk, "length": length, "mean": fmean(each)}
        for (pairs, trunk, length), each in sorted(values.items())
    ]
