"""What a personal model is worth beside training alone: the difference on a site's own test examples, and how sure it is.

The interval is the bootstrap's over the test examples, which both models answer. It says how sure the difference is for this
site's data; nothing of other sites, seeds, or another draw of the training data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedtap.algorithms.base import ByTask
from fedtap.components import ComponentState
from fedtap.data.partition import TaskSplits
from fedtap.evaluation.evaluate import score
from fedtap.metrics import HIGHER_IS_BETTER, primary
from fedtap.onboarding.joining import Joined
from fedtap.pairs import Pair
from fedtap.study.statistics import DRAWS, Interval, interval, relative_gain
from fedtap.tasks.base import ScoreSettings

_MOST_NUMBERS = 10**8  # that a bootstrap holds at once


@dataclass(frozen=True, slots=True)
class TaskGain:
    """A task's primary metric with the personal model and after training alone.

    ``difference`` is positive where the personal model is better, whichever way the metric goes; ``ci95`` its interval over the
    ``n`` test examples (None for one example); ``percent`` is relative to training alone. What is no finite number is None.
    """

    task: str
    metric: str
    personal: float | None
    alone: float | None
    difference: float | None
    ci95: Interval | None
    percent: float | None
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scored:
    """A metric of each test example, and how much of the whole each is: an example, or its tokens."""

    values: Sequence[float]
    weights: Sequence[int]

    @property
    def mean(self) -> float:
        """The metric of all together."""
        return math.fsum(v * w for v, w in zip(self.values, self.weights, strict=True)) / sum(self.weights)


def gain_on(pair: Pair, splits: TaskSplits, personal: tuple[Joined, str], alone: tuple[Joined, str]) -> TaskGain:
    """Return the gain of one site's model over another on a task's test examples; models are given by their names."""
    metric = primary(pair.type, pair.modality)
    ours, theirs = (scored(joined, name, pair, splits, metric) for joined, name in (personal, alone))
    if ours is None or theirs is None:
        means = [each.mean if each is not None else None for each in (ours, theirs)]
        return TaskGain(pair.task, metric, means[0], means[1], None, None, None, len(splits.test))
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    difference = sign * (ours.mean - theirs.mean)
    return TaskGain(
        task=pair.task,
        metric=metric,
        personal=ours.mean,
        alone=theirs.mean,
        difference=difference,
        ci95=difference_interval(ours, theirs, sign),
        percent=relative_gain(ours.mean, theirs.mean, HIGHER_IS_BETTER[metric]),
        n=len(splits.test),
    )


def difference_interval(ours: Scored, theirs: Scored, sign: int) -> Interval | None:
    """Return the bootstrap interval of the difference of two means over the same examples, each with its weight.

    >>> difference_interval(Scored([1.0, 1.0], [1, 1]), Scored([0.0, 0.0], [1, 1]), 1)
    (1.0, 1.0)
    """
    number, total = len(ours.values), sum(ours.weights)
    parts = [
        sign * (a - b) * weight * number / total
        for a, b, weight in zip(ours.values, theirs.values, ours.weights, strict=True)
    ]
    return interval(parts, draws=max(1_000, min(DRAWS, _MOST_NUMBERS // max(1, number))))


def scored(joined: Joined, model: str, pair: Pair, splits: TaskSplits, metric: str) -> Scored | None:
    """Return a metric of each test example of a task; None where the model does not serve it or one is no finite number."""
    network = joined.context.network
    if not network.architecture.served([pair]):
        return None
    held = joined.models[model]
    if isinstance(held, ByTask):
        held = joined.models[held.models[pair.task]]
    assert isinstance(held, ComponentState)
    network.load(held)
    head = network.architecture.blueprint.heads[pair.head]
    settings = ScoreSettings(head.classes, scale=head.scale)
    each = [
        score(network, [joined.context.dataset.encode(pair, [example])], settings)[metric] for example in splits.test
    ]
    if not all(math.isfinite(value) for value, _ in each):
        return None
    return Scored([value for value, _ in each], [number for _, number in each])
