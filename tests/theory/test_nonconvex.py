"""The proof beyond quadratics: clients' objectives with waves in them, neither convex nor quadratic.

One round is exact: the noise of a step has two values, so that all local paths, all sets and all their combinations are gone
through. Many rounds are simulated.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize

from fedtap.theory.bound import ComponentTerms, bound
from theory.quadratics import Array, Federation, draw
from theory.steps import Claims, Setting, equal_setting


@dataclass(frozen=True)
class Waves:
    """F_i(w) = w'A_i w / 2 - b_i'w + sum_j s_ij cos(c_ij'w + p_ij), and L of the steepest client."""

    federation: Federation
    height: Array
    wave: Array
    phase: Array

    def value(self, w: Array) -> float:
        f = self.federation
        square = np.einsum("a,iab,b->i", w, f.hessians, w) / 2
        return float((square - f.slopes @ w + (self.height * np.cos(self.wave @ w + self.phase)).sum(1)).mean())

    def gradient(self, i: int, w: Array) -> Array:
        """Return client i's gradient at each of some points, ``(points, coordinates)``."""
        f = self.federation
        slope = (self.height[i] * np.sin(w @ self.wave[i].T + self.phase[i])) @ self.wave[i]
        return np.asarray(w @ f.hessians[i] - f.slopes[i] - slope)

    @property
    def smoothness(self) -> float:
        f = self.federation
        waves = (np.abs(self.height) * (self.wave**2).sum(2)).sum(1)
        return float((np.abs(np.linalg.eigvalsh(f.hessians)).max(1) + waves).max())

    def lowest(self, rng: np.random.Generator, start: Array) -> float:
        """Return the least value that descents from many points find: not below the true one, so that no bound is flattered."""
        size, f = len(start), self.federation
        starts = [start, *(rng.normal(size=(6, size)) * 2)]

        def slope(w: Array) -> Array:
            return np.asarray(np.mean([self.gradient(i, w[None])[0] for i in range(f.clients)], axis=0))

        return min(float(minimize(self.value, at, jac=slope).fun) for at in starts)


def waves(rng: np.random.Generator) -> Waves:
    """Return a random one whose mean has a least value."""
    while True:
        f = draw(rng, bounded=True)
        if np.linalg.eigvalsh(f.hessians.mean(0))[0] > 1e-3 * f.smoothness and f.clients > 1:
            break
    wave = rng.normal(size=(f.clients, 3, f.size)) * 10 ** rng.uniform(-0.5, 0.7) * f.held[:, f.component][:, None, :]
    height = rng.uniform(-1, 1, (f.clients, 3)) * f.smoothness / ((wave**2).sum(2) + 0.05) * rng.uniform(0, 2)
    return Waves(f, height, wave, rng.uniform(0, 2 * np.pi, (f.clients, 3)))


def terms(s: Setting, zeta2: Array, sigma2: Array) -> list[ComponentTerms]:
    return [
        ComponentTerms(q, of.pi, of.rho, of.phi, most, z, n)
        for q, of, most, z, n in zip(s.q, s.samplings, s.hat, zeta2, sigma2, strict=True)
    ]


def squares(s: Setting, gradients: Array) -> tuple[Array, Array]:
    """Return the squared means over holders and the dissimilarities; ``gradients`` is (..., clients, coordinates)."""
    G2, zeta2 = [], []
    for k, b in enumerate(s.federation.block):
        mine = gradients[..., s.federation.held[:, k], :][..., b]
        mean = mine.mean(-2)
        G2.append((mean**2).sum(-1).mean())
        zeta2.append(((mine - mean[..., None, :]) ** 2).sum(-1).mean(-1).mean())
    return np.array(G2), np.array(zeta2)


def limit(model: Waves, s: Setting) -> float:
    return s.largest * s.federation.smoothness / model.smoothness


@pytest.mark.parametrize("seed", range(12))
def test_one_round_exactly(seed: int) -> None:
    rng = np.random.default_rng([5, seed])
    model = waves(rng)
    f = model.federation
    s = equal_setting(f, Claims())
    steps = min(f.steps, 2)
    f = Federation(
        **{**{name: getattr(f, name) for name in f.__dataclass_fields__}, "steps": steps, "drawn": min(f.drawn, 2)}
    )
    s = equal_setting(f, Claims())
    smooth, gamma = model.smoothness, limit(model, s)
    root = np.linalg.cholesky(f.noise + 1e-14 * np.eye(f.size))[:, :, -1]  # one direction: two values of noise a step
    root *= f.held[:, f.component]
    sigma2 = np.array(
        [max(float(root[i, b] @ root[i, b]) for i in np.flatnonzero(f.held[:, k])) for k, b in enumerate(f.block)]
    )
    w = rng.normal(size=f.size) * 10 ** rng.uniform(-0.5, 0.7)
    signs = np.array(list(product((-1.0, 1.0), repeat=steps)))
    ends = np.zeros((f.clients, len(signs), f.size))
    for i in range(f.clients):
        at = np.repeat(w[None], len(signs), 0)
        drift = np.zeros(len(signs))
        for e in range(steps):
            drift += ((at - w) ** 2).sum(1) / steps
            at = at - gamma / steps * (model.gradient(i, at) + signs[:, e, None] * root[i])
        ends[i] = at
        own = float(sigma2[f.held[i]].sum()) / steps
        slope2 = float((model.gradient(i, w[None]) ** 2).sum())
        assert drift.mean() <= 8 / 7 * (1 - 1 / steps) * gamma**2 * (own + 4 / 3 * slope2) * (1 + 1e-9) + 1e-13  # S6b
    after = []
    for row, members in enumerate(np.flatnonzero(one) for one in f.sets):
        weights = s.weights[row][:, f.component]
        for choice in product(range(len(signs)), repeat=len(members)):
            move = sum(weights[i] * (ends[i, j] - w) for i, j in zip(members, choice, strict=True))
            after.append(model.value(w + move))
    gradients = np.array([model.gradient(i, w[None])[0] for i in range(f.clients)])
    G2, zeta2 = squares(s, gradients)
    right = (
        -3 / 7 * gamma * float(s.pi * s.q @ G2)
        + smooth * gamma**2 * float(s.pi * s.q @ (s.phi * zeta2 + s.rho * sigma2 / steps))
        + (1 - 1 / steps) * smooth**2 * gamma**3 * float(s.hat * s.q @ (6 / 7 * sigma2 / steps + 8 / 7 * zeta2))
    )
    change = float(np.mean(after)) - model.value(w)
    assert change <= right + 1e-9 * (abs(change) + abs(right))  # S7


@pytest.mark.parametrize("seed", range(4))
def test_many_rounds_simulated(seed: int) -> None:
    rng = np.random.default_rng([6, seed])
    model = waves(rng)
    f = model.federation
    s = equal_setting(f, Claims())
    gamma, rounds, runs = limit(model, s), 12, 60
    start = rng.normal(size=f.size) * 10 ** rng.uniform(-0.5, 0.7)
    roots = np.linalg.cholesky(f.noise + 1e-14 * np.eye(f.size))
    w = np.repeat(start[None], runs, 0)
    found = []
    for _ in range(rounds):
        found.append(squares(s, np.stack([model.gradient(i, w) for i in range(f.clients)], 1)))
        ends = np.zeros((runs, f.clients, f.size))
        for i in range(f.clients):
            at = w
            for _ in range(f.steps):  # skewed noise: exponential, about its mean
                at = at - gamma / f.steps * (model.gradient(i, at) + (rng.exponential(size=w.shape) - 1) @ roots[i].T)
            ends[:, i] = at
        weights = s.weights[rng.integers(len(f.sets), size=runs)][:, :, f.component]
        w = w + (weights * (ends - w[:, None])).sum(1)
    G2, zeta2 = (np.mean([each[part] for each in found], axis=0) for part in (0, 1))
    given = {"gap": model.value(start) - model.lowest(rng, start), "smoothness": model.smoothness, "rounds": rounds}
    right = bound(terms(s, zeta2, f.sigma2), rate=gamma / f.steps, steps=f.steps, **given)
    assert float(s.pi * s.q @ G2) <= right.total
