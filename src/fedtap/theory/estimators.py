r"""The theorem's constants from gradients that clients took of their own data. Vectors in, numbers out; no network here.

A client's gradient is known up to the noise of the mini-batches it was made of. What noise adds to a square is subtracted, so
that every estimate is unbiased; near nothing it may come out below zero. For component k with holders C:

.. math::

    \widehat{\|G_k\|^2} = \|\hat G\|^2 - \frac1{n^2} \sum_i v_i, \qquad
    \hat\zeta_k^2 = \frac1n \sum_i \|\hat g_i\|^2 - \|\hat G\|^2 - \Big(\frac1n - \frac1{n^2}\Big) \sum_i v_i

with :math:`\hat G` the mean of the gradients :math:`\hat g_i` and :math:`v_i` the variance of :math:`\hat g_i`. The part *between
pairs* is that of the means of holders with the same tasks. Sums are all that is kept, however many clients there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(slots=True)
class BatchGradients:
    """Gradients of disjoint batches, drawn at random from ``examples`` examples of one task; only their sums are kept."""

    examples: int
    size: int
    count: int = 0
    total: Vector | None = None
    squares: float = 0.0

    def add(self, gradient: Vector) -> None:
        """Add the gradient of one batch of ``size`` examples."""
        self.total = gradient.astype(np.float64) if self.total is None else self.total + gradient
        self.squares += float(np.dot(gradient, gradient))
        self.count += 1

    @property
    def mean(self) -> Vector:
        """Their mean, which estimates the gradient over all examples."""
        assert self.total is not None
        return self.total / self.count

    @property
    def spread(self) -> float:
        """The variance of one example's gradient; 0 where there was one batch only, which is all there was."""
        if self.count < 2:
            return 0.0
        mean = self.mean
        between = (self.squares - self.count * float(np.dot(mean, mean))) / (self.count - 1)
        return max(0.0, self.size * between)

    @property
    def variance(self) -> float:
        """The variance of :attr:`mean`: none where the batches were all of the examples."""
        seen = self.count * self.size
        return self.spread / seen * max(0.0, 1 - seen / self.examples)


@dataclass(frozen=True, slots=True)
class ClientGradient:
    """One client's gradient in one component: the tasks' gradients (each over its own examples) and their shares of its data.

    Of a task whose path does not use the component there is no entry; its gradient is nothing, its share counts all the same.
    """

    tasks: Mapping[str, BatchGradients]
    shares: Mapping[str, float]
    batch: int
    """Examples of a mini-batch in training."""

    @property
    def value(self) -> Vector:
        """The gradient of the client's objective, its mean loss over all its examples."""
        return np.asarray(sum(self.shares[task] * found.mean for task, found in self.tasks.items()), dtype=np.float64)

    @property
    def variance(self) -> float:
        """The variance of :attr:`value`."""
        return sum(self.shares[task] ** 2 * found.variance for task, found in self.tasks.items())

    @property
    def noise(self) -> float:
        """The variance of the gradient of a mini-batch of all the client's tasks, about the client's gradient."""
        per_example, apart = 0.0, self.variance - float(np.dot(self.value, self.value))
        for task, found in self.tasks.items():
            mean = found.mean
            per_example += self.shares[task] * found.spread
            apart += self.shares[task] * (float(np.dot(mean, mean)) - found.variance)
        per_example += apart  # what lies between the tasks, those that do not come here among them
        used = sum(self.shares[task] for task in self.tasks)
        examples = sum(found.examples for found in self.tasks.values()) / used
        size = min(float(self.batch), examples)
        return max(0.0, per_example / size * max(0.0, 1 - size / examples))


@dataclass(slots=True)
class _Sum:
    """A sum of gradients, how many they are, and the sum of their variances."""

    count: int = 0
    total: Vector | None = None
    variance: float = 0.0

    def add(self, gradient: Vector, variance: float) -> None:
        self.count += 1
        self.total = gradient if self.total is None else self.total + gradient
        self.variance += variance

    @property
    def mean(self) -> Vector:
        assert self.total is not None
        return self.total / self.count

    @property
    def square(self) -> float:
        """The squared norm of the mean, without what noise adds."""
        mean = self.mean
        return float(np.dot(mean, mean)) - self.variance / self.count**2


@dataclass(slots=True)
class ComponentSums:
    """All that is kept of the holders' gradients in one component."""

    holders: _Sum = field(default_factory=_Sum)
    squares: float = 0.0
    noise: float = 0.0
    loudest: float = 0.0
    groups: dict[tuple[str, ...], _Sum] = field(default_factory=dict)
    tasks: dict[str, _Sum] = field(default_factory=dict)

    def add(self, gradient: ClientGradient) -> None:
        """Add a holder."""
        value, variance, noise = gradient.value, gradient.variance, gradient.noise
        self.holders.add(value, variance)
        self.squares += float(np.dot(value, value)) - variance
        self.noise += noise
        self.loudest = max(self.loudest, noise)
        self.groups.setdefault(tuple(sorted(gradient.tasks)), _Sum()).add(value, variance)
        for task, found in gradient.tasks.items():
            self.tasks.setdefault(task, _Sum()).add(found.mean, found.variance)

    def estimate(self) -> ComponentEstimate:
        """Return what the gradients say."""
        holders = self.holders.count
        square = self.holders.square
        between = sum(group.count / holders * group.square for group in self.groups.values()) - square
        apart = self.squares / holders - square
        return ComponentEstimate(
            holders=holders,
            gradient2=square,
            zeta2=apart,
            zeta2_pairs=between,
            noise2=self.noise / holders,
            noise2_most=self.loudest,
            **_pull(dict(sorted(self.tasks.items()))),
        )


@dataclass(frozen=True, slots=True)
class ComponentEstimate:
    r"""A component's constants at one moment.

    ``gradient2`` is :math:`\|G\|^2`, ``zeta2`` :math:`\zeta^2`, ``zeta2_pairs`` its part between holders with different tasks,
    ``noise2`` and ``noise2_most`` the mean and largest :math:`\sigma^2` of a holder's mini-batch. Of the tasks' mean gradients:
    ``alignment``, :math:`\|\bar g\|^2 / \overline{g^2}` (1: all alike; 1 / K: orthogonal; 0: they cancel), ``cosine``, their
    mean pairwise inner product over :math:`\overline{g^2}`, and the two tasks ``apart`` that pull most against each other with
    their cosine; None where only one task uses the component, or nothing is left but noise.
    """

    holders: int
    gradient2: float
    zeta2: float
    zeta2_pairs: float
    noise2: float
    noise2_most: float
    alignment: float | None = None
    cosine: float | None = None
    apart: tuple[str, str, float] | None = None

    @property
    def zeta2_within(self) -> float:
        """The part of the dissimilarity among holders with the same tasks."""
        return self.zeta2 - self.zeta2_pairs

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "holders": self.holders,
            "gradient2": self.gradient2,
            "zeta2": self.zeta2,
            "zeta2_pairs": self.zeta2_pairs,
            "zeta2_within": self.zeta2_within,
            "noise2": self.noise2,
            "noise2_most": self.noise2_most,
            "alignment": self.alignment,
            "cosine": self.cosine,
            "apart": None if self.apart is None else list(self.apart),
        }


def _pull(tasks: Mapping[str, _Sum]) -> dict[str, Any]:
    """Return how the tasks' mean gradients lie to each other (Corollary 3 of docs/theory.md, for tasks of as many holders)."""
    number = len(tasks)
    squares = {task: found.square for task, found in tasks.items()}
    total = sum(squares.values())
    if number < 2 or total <= 0:
        return {}
    means = {task: found.mean for task, found in tasks.items()}
    inner = {two: float(np.dot(means[two[0]], means[two[1]])) for two in combinations(means, 2)}
    crossed = 2 * sum(inner.values())
    cosines = {
        two: value / (squares[two[0]] * squares[two[1]]) ** 0.5
        for two, value in inner.items()
        if min(squares[two[0]], squares[two[1]]) > 0
    }
    apart = min(cosines, key=lambda two: (cosines[two], two), default=None)
    return {
        "alignment": (total + crossed) / (number * total),
        "cosine": crossed / ((number - 1) * total),
        "apart": None if apart is None else (*apart, max(-1.0, min(1.0, cosines[apart]))),
    }
