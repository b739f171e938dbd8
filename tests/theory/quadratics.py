"""Random federations of quadratics whose moments are exact: every mean and covariance of a round is a closed form, no simulation.

Client i's objective is w'A_i w / 2 - b_i'w on the components that it holds, some of them not convex; its gradients have additive
noise with covariance C_i, correlated over components. Local SGD is then a linear recursion, and the drawn sets are enumerated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KINDS = ("random", "private", "trunk", "equal")


@dataclass(frozen=True)
class Federation:
    """``held`` is (clients, components), ``block[k]`` are the coordinates of component k, ``sets`` those that may be drawn."""

    held: NDArray[np.bool_]
    block: list[NDArray[np.int64]]
    hessians: Array
    slopes: Array
    noise: Array
    smoothness: float
    drawn: int
    steps: int
    counts: Array
    coins: Array | None = None
    """The clients' chances (fedtap.theory.unequal); None: all sets are alike."""

    @property
    def clients(self) -> int:
        return int(self.held.shape[0])

    @property
    def components(self) -> int:
        return int(self.held.shape[1])

    @property
    def size(self) -> int:
        return int(self.hessians.shape[1])

    @property
    def kappa(self) -> float:
        return 1 - 1 / self.steps

    @property
    def convex(self) -> bool:
        return bool(np.linalg.eigvalsh(self.hessians).min() >= -1e-9)

    @cached_property
    def sets(self) -> NDArray[np.bool_]:
        chosen = list(combinations(range(self.clients), self.drawn))
        found = np.zeros((len(chosen), self.clients), bool)
        for row, members in enumerate(chosen):
            found[row, list(members)] = True
        return found

    @cached_property
    def likely(self) -> Array:
        """How likely each set is."""
        coins = np.full(self.clients, 0.5) if self.coins is None else self.coins
        found = np.where(self.sets, coins, 1 - coins).prod(1)
        return np.asarray(found / found.sum())

    @cached_property
    def sigma2(self) -> Array:
        """The largest variance of a holder's gradient, component by component."""
        return np.array(
            [max(trace(self.noise[i], b) for i in np.flatnonzero(self.held[:, k])) for k, b in enumerate(self.block)]
        )

    @cached_property
    def component(self) -> NDArray[np.int64]:
        """The component of each coordinate."""
        return np.concatenate([np.full(len(b), k) for k, b in enumerate(self.block)])

    def weights(self, counts: Array) -> Array:
        """Return the weights with which each set averages each component, ``(sets, clients, components)``."""
        mine = self.sets[:, :, None] * (self.held * counts)
        total = mine.sum(1, keepdims=True)
        return np.divide(mine, total, out=np.zeros_like(mine), where=total > 0)


def draw(rng: np.random.Generator, *, bounded: bool) -> Federation:
    """Return a random federation; a ``bounded`` one has an objective with a least value, though its clients need not have."""
    components, clients = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    held = _holdings(rng, clients, components)
    ends = np.cumsum(rng.integers(1, 4, components))
    block = [np.arange(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    size, smoothness = int(ends[-1]), float(10 ** rng.uniform(-1, 1))
    worst = float(rng.choice([-1.0, -0.3, 0.0, 0.2]))
    alike = rng.random() < 0.25
    level = 0.0 if rng.random() < 0.15 else 10 ** rng.uniform(-1.5, 1)
    white = rng.random() < 0.3
    hessians, slopes, noise = (
        np.zeros((clients, size, size)),
        np.zeros((clients, size)),
        np.zeros((clients, size, size)),
    )
    for i in range(clients):
        mine = np.concatenate([block[k] for k in np.flatnonzero(held[i])])
        turn, _ = np.linalg.qr(rng.normal(size=(len(mine), len(mine))))
        curvature = rng.uniform(worst * smoothness, smoothness, len(mine))
        curvature[rng.integers(len(mine))] = smoothness
        if alike:
            turn, curvature = np.eye(len(mine)), np.full(len(mine), 0.7 * smoothness)
        hessians[i][np.ix_(mine, mine)] = (turn * curvature) @ turn.T
        slopes[i, mine] = rng.normal(size=len(mine)) * 10 ** rng.uniform(-1, 1)
        root = np.eye(len(mine)) if white else rng.normal(size=(len(mine), len(mine))) * rng.uniform(0.3, 1)
        noise[i][np.ix_(mine, mine)] = level**2 * root @ root.T
    if bounded:
        _bound_below(hessians, smoothness)
    by_component = rng.integers(1, 20, (clients, components))
    by_client = np.broadcast_to(rng.integers(1, 20, (clients, 1)), (clients, components))
    return Federation(
        held=held,
        block=block,
        hessians=hessians,
        slopes=slopes,
        noise=noise,
        smoothness=smoothness,
        drawn=int(rng.integers(1, clients + 1)),
        steps=int(rng.choice([1, 2, 3, 5, 10])),
        counts=np.where(rng.random() < 0.5, by_component, by_client).astype(float),
    )


def _holdings(rng: np.random.Generator, clients: int, components: int) -> NDArray[np.bool_]:
    kind = rng.choice(KINDS)
    held = np.zeros((clients, components), bool)
    if kind == "equal":
        held[:] = True
    elif kind == "private":
        held[np.arange(clients), rng.integers(0, components, clients)] = True
    else:
        held = rng.random((clients, components)) < rng.uniform(0.2, 0.9)
        held[:, 0] |= kind == "trunk"
    for i in np.flatnonzero(~held.any(1)):
        held[i, rng.integers(components)] = True
    for k in np.flatnonzero(~held.any(0)):
        held[rng.integers(clients), k] = True
    return held


def _bound_below(hessians: Array, smoothness: float) -> None:
    """Make clients less and less concave, in place, until their mean has a least value."""
    for shrink in (1.0, 0.5, 0.5, 0.4, -1.0):
        for i, hessian in enumerate(hessians):
            values, vectors = np.linalg.eigh(hessian)
            hessians[i] = (vectors * np.where(values < 0, shrink * values, values)) @ vectors.T
        if np.linalg.eigvalsh(hessians.mean(0))[0] > 0.005 * smoothness:
            return


@dataclass(frozen=True)
class Paths:
    """The clients' local paths from one point. Per client: the gradient there, mean and covariance of x (the mean stochastic
    gradient of the path), and the drift Y; per client and component the squares that the proof names.
    """

    gradient: Array
    mean: Array
    covariance: Array
    drift: Array
    delta2: Array
    bias2: Array
    v2: Array
    s2: Array
    gradient2: Array


def local_paths(federation: Federation, point: Array, rate: float) -> Paths:
    """Return the moments of local SGD from a point, by the recursion of (w_e - w, sum of earlier ones) as one vector."""
    f, d, steps = federation, federation.size, federation.steps
    shape = (f.clients, f.components)
    found = {name: np.zeros(shape) for name in ("delta2", "bias2", "v2", "s2", "gradient2")}
    mean, covariance, drift = np.zeros((f.clients, d)), np.zeros((f.clients, d, d)), np.zeros(f.clients)
    gradient = f.hessians @ point - f.slopes
    for i in range(f.clients):
        hessian = f.hessians[i]
        move = np.block([[np.eye(d) - rate * hessian, np.zeros((d, d))], [np.eye(d), np.eye(d)]])
        push = np.zeros((2 * d, 2 * d))
        push[:d, :d] = rate**2 * f.noise[i]
        at, spread = np.zeros(2 * d), np.zeros((2 * d, 2 * d))
        for _ in range(steps):
            off, wide = hessian @ at[:d], hessian @ spread[:d, :d] @ hessian.T
            drift[i] += (at[:d] @ at[:d] + np.trace(spread[:d, :d])) / steps
            for k, b in enumerate(f.block):
                found["delta2"][i, k] += (off[b] @ off[b] + trace(wide, b)) / steps
            at = move @ at - rate * np.concatenate([gradient[i], np.zeros(d)])
            spread = move @ spread @ move.T + push
        mean[i], covariance[i] = -at[:d] / (rate * steps), spread[:d, :d] / (rate * steps) ** 2
        path = hessian @ spread[d:, d:] @ hessian.T / steps**2  # covariance of the mean true gradient of the path
        assert np.allclose(mean[i], gradient[i] + hessian @ at[d:] / steps)
        for k, b in enumerate(f.block):
            found["bias2"][i, k] = ((mean[i] - gradient[i])[b] ** 2).sum()
            found["v2"][i, k] = trace(path, b)
            found["s2"][i, k] = trace(covariance[i], b)
            found["gradient2"][i, k] = (gradient[i][b] ** 2).sum()
    return Paths(gradient=gradient, mean=mean, covariance=covariance, drift=drift, **found)


@dataclass(frozen=True)
class Move:
    """The server's move in a round: its mean, the mean of its square, and its square per component; and set by set its mean."""

    mean: Array
    square: Array
    by_component: Array
    by_set: Array


def server_move(federation: Federation, paths: Paths, weights: Array, gamma: float) -> Move:
    """Return the moments of a round's move."""
    scale = weights[:, :, federation.component]  # (sets, clients, coordinates)
    by_set = -gamma * np.einsum("sia,ia->sa", scale, paths.mean)
    noise = gamma**2 * np.einsum("s,sia,iab,sib->ab", federation.likely, scale, paths.covariance, scale, optimize=True)
    square = np.einsum("s,sa,sb->ab", federation.likely, by_set, by_set) + noise
    return Move(federation.likely @ by_set, square, np.array([trace(square, b) for b in federation.block]), by_set)


def trace(matrix: Array, block: NDArray[np.int64]) -> float:
    """Return the sum of a matrix's diagonal over some coordinates."""
    return float(np.diagonal(matrix)[block].sum())
