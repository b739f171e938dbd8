"""The inequalities of the proof in docs/theory.md, each held against exact moments. What is checked is data: it may be replaced.

The formulas that the proof claims are the fields of :class:`Claims`. A test replaces one by a wrong one, and the checks must see
it: a check that lets everything pass shows nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedtap.theory.bound import Bound, ComponentTerms, bound, largest_step, one_step_bound, ties, weighted_bound
from fedtap.theory.counts import weighted_sampling
from fedtap.theory.sampling import Sampling, sampling
from theory.quadratics import Array, Federation, local_paths, server_move, trace

Terms = Callable[..., Bound]


@dataclass(frozen=True)
class Claims:
    """What the proof says, number by number. S1 to S7 are its steps; ``theorem``, ``sharp`` and ``weighted`` the results."""

    sampling: Callable[[int, int, int], Sampling] = sampling
    s1_share: Callable[[Array], Array] = lambda q: q
    s2_chance: Callable[[float], float] = lambda pi: pi
    s3_spread: Callable[[Sampling], float] = lambda s: s.phi
    s3_noise: Callable[[Sampling], float] = lambda s: s.rho
    s4a: tuple[float, float] = (2.0, 2.0)
    s4b: tuple[float, float] = (2.0, 2.0)
    s4d: float = 1.0
    s4: tuple[float, float, float] = (2.0, 2.0, 2.0)
    s5: float = 1.0
    s6a: float = 1.0
    s6b: tuple[float, float] = (8 / 7, 4 / 3)
    s6c: float = 1.0
    s6: tuple[float, float] = (8 / 7, 4 / 3)
    s7: tuple[float, float, float, float] = (3 / 7, 1.0, 6 / 7, 8 / 7)
    s7_weights: tuple[float, float, float, float, float] = (11 / 42, 1.0, 10 / 7, 40 / 21, 26 / 21)
    floor: float = 1.0
    theorem: Terms = bound
    sharp: Terms = one_step_bound
    weighted: Terms = weighted_bound


@dataclass
class Checks:
    """How often each inequality was checked, how often it failed, and how near left came to right."""

    done: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    nearest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def below(self, name: str, left: float, right: float, scale: float = 0.0) -> None:
        """Check left <= right, but for rounding on the scale of what was added up."""
        size = max(abs(left), abs(right), scale)
        self.done[name] += 1
        self.broken[name] += not left <= right + 1e-9 * size + 1e-13
        if right > 1e-12 * size:
            self.nearest[name] = max(self.nearest[name], left / right)

    def equal(self, name: str, left: float, right: float, scale: float = 0.0) -> None:
        """Check left = right."""
        self.done[name] += 1
        self.broken[name] += not abs(left - right) <= 1e-8 * max(abs(left), abs(right), scale) + 1e-12
        self.nearest[name] = 1.0

    @property
    def violations(self) -> int:
        return self.broken.total()


@dataclass(frozen=True)
class Setting:
    """A federation with the weights of its objective (p) and of its means: all that follows from them before a round."""

    federation: Federation
    equal: bool
    p: Array
    weights: Array
    u: Array
    samplings: list[Sampling]
    hat: Array
    tie: float

    @property
    def pi(self) -> Array:
        return np.array([s.pi for s in self.samplings])

    @property
    def rho(self) -> Array:
        return np.array([s.rho for s in self.samplings])

    @property
    def phi(self) -> Array:
        return np.array([s.phi for s in self.samplings])

    @property
    def q(self) -> Array:
        return np.asarray((self.p[:, None] * self.federation.held).sum(0))

    @property
    def largest(self) -> float:
        return largest_step(self.federation.smoothness, self.federation.steps, self.tie)


def equal_setting(f: Federation, claims: Claims) -> Setting:
    """Return the setting of Theorem 1: all clients and all holders count alike."""
    holders = f.held.sum(0)
    found = [claims.sampling(f.clients, int(n), f.drawn) for n in holders]
    holdings = {i: np.flatnonzero(f.held[i]).tolist() for i in range(f.clients)}
    hat, tie = ties({k: s.pi for k, s in enumerate(found)}, holdings)
    most = np.array([hat[k] for k in range(f.components)])
    u = f.held / holders
    return Setting(f, True, np.full(f.clients, 1 / f.clients), f.weights(np.ones_like(f.counts)), u, found, most, tie)


def weighted_setting(f: Federation, p: Array) -> Setting:
    """Return the setting of Theorem 2: holders count by ``f.counts``, drawn by ``f.coins``, clients by p in the objective."""
    found, u = [], np.zeros(f.held.shape)
    for k in range(f.components):
        mine = np.flatnonzero(f.held[:, k])
        coins = {}
        if f.coins is not None:
            coins = {"chances": f.coins[mine].tolist(), "others": Counter(np.delete(f.coins, mine).tolist())}
        of = weighted_sampling(f.counts[mine, k].tolist(), clients=f.clients, drawn=f.drawn, **coins)
        assert of.exact
        u[mine, k] = of.u
        found.append(Sampling(f.clients, len(mine), f.drawn, of.pi, of.rho, of.phi))
    q = (p[:, None] * f.held).sum(0)
    alpha = np.where(f.held, np.array([s.pi for s in found]) * q * u, 0.0)
    ratio = np.divide(alpha.max(1)[:, None], alpha, out=np.zeros_like(alpha), where=f.held)
    return Setting(f, False, p, f.weights(f.counts), u, found, np.zeros(f.components), float(ratio.max()))


def check_sampling(s: Setting, checks: Checks) -> None:
    """Hold pi, rho, phi and u against the enumeration of all sets."""
    hit = s.weights.sum(1) > 0.5
    for k, found in enumerate(s.samplings):
        drawn, chance = s.weights[hit[:, k]][:, :, k], s.federation.likely[hit[:, k]]
        checks.equal("S0 pi", float(chance.sum()), found.pi)
        chance = chance / chance.sum()
        checks.equal("S0 rho", float(chance @ (drawn**2).sum(1)), found.rho)
        mine = np.flatnonzero(s.federation.held[:, k])
        away = drawn[:, mine] - s.u[mine, k]
        root = 1 / np.sqrt(s.u[mine, k])
        checks.equal(
            "S0 phi", float(np.linalg.eigvalsh((away.T * chance @ away) * np.outer(root, root))[-1]), found.phi
        )
        checks.equal("S0 shares", float(np.abs(chance @ drawn[:, mine] - s.u[mine, k]).max()), 0.0, 1.0)
        checks.below("S0 phi <= rho", found.phi, found.rho if s.equal else 1.0)


def check_round(s: Setting, claims: Claims, point: Array, gamma: float, checks: Checks) -> None:
    """Hold the proof's steps S1 to S7 against one round from a point, in exact expectation."""
    f, equal = s.federation, s.equal
    tag = "equal: " if equal else "counts: "
    steps, smooth, kappa = f.steps, f.smoothness, f.kappa
    paths = local_paths(f, point, gamma / steps)
    move = server_move(f, paths, s.weights, gamma)
    q, u, sigma2 = s.q, s.u, f.sigma2
    slope = s.p @ paths.gradient
    groups = list(enumerate(f.block))
    G = [slope[b] / q[k] for k, b in groups]
    Gu = [u[:, k] @ paths.gradient[:, b] for k, b in groups]
    H = [u[:, k] @ paths.mean[:, b] for k, b in groups]
    G2, H2 = np.array([g @ g for g in G]), np.array([h @ h for h in H])
    zeta2 = np.array([u[:, k] @ ((paths.gradient[:, b] - Gu[k]) ** 2).sum(1) for k, b in groups])
    beta2 = np.array([((G[k] - Gu[k]) ** 2).sum() for k, _ in groups])
    V = np.array([u[:, k] @ ((paths.mean[:, b] - H[k]) ** 2).sum(1) for k, b in groups])
    delta2 = (u * paths.delta2).sum(0)
    bias2 = (u * paths.bias2).sum(0)

    # S1, for the mean move of every set and in expectation
    mean_hessian = np.einsum("i,iab->ab", s.p, f.hessians)
    second = float(np.sum(mean_hessian * move.square)) / 2
    checks.below(tag + "S1", second, smooth / 2 * float(claims.s1_share(q) @ move.by_component))
    for one in move.by_set:
        parts = np.array([one[b] @ one[b] for b in f.block])
        checks.below(
            tag + "S1, set by set", one @ mean_hessian @ one / 2, smooth / 2 * float(claims.s1_share(q) @ parts)
        )

    for k, b in groups:
        of = s.samplings[k]
        off = float(np.abs(move.mean[b] + gamma * claims.s2_chance(of.pi) * H[k]).max())
        checks.equal(tag + "S2", off, 0.0, gamma * float(np.sqrt(H2[k])) + 1e-9)
        if equal:
            own = claims.s3_noise(of) * float(u[:, k] @ paths.s2[:, k])
            right = gamma**2 * of.pi * (H2[k] + claims.s3_spread(of) * V[k] + own)
            checks.equal(tag + "S3", float(move.by_component[k]), float(right))
        else:
            own = float((f.likely @ (s.weights[:, :, k] ** 2) / of.pi) @ paths.s2[:, k])
            right = gamma**2 * of.pi * (H2[k] + claims.s3_spread(of) * V[k] + own)
            checks.below(tag + "S3", float(move.by_component[k]), float(right))
        checks.below(tag + "S4a", V[k], claims.s4a[0] * zeta2[k] + claims.s4a[1] * bias2[k], 1e-12 * G2[k])
        for i in np.flatnonzero(f.held[:, k]):
            noise = trace(f.noise[i], b) / steps
            checks.below(tag + "S4b", paths.s2[i, k], claims.s4b[0] * noise + claims.s4b[1] * paths.v2[i, k])
            checks.below(
                tag + "S4d",
                paths.bias2[i, k] + paths.v2[i, k],
                claims.s4d * paths.delta2[i, k],
                1e-12 * paths.gradient2[i, k],
            )
        a, c, e = claims.s4
        parts4 = H2[k] + a * of.phi * zeta2[k] + c * of.rho * sigma2[k] / steps + e * delta2[k]
        checks.below(tag + "S4", float(move.by_component[k]), float(gamma**2 * of.pi * parts4))
        away = float(((G[k] - H[k]) ** 2).sum())
        if equal:
            checks.below(tag + "S5", away, claims.s5 * delta2[k], 1e-12 * G2[k])
            checks.equal(tag + "S6c", float(u[:, k] @ paths.gradient2[:, k]), float(G2[k] + claims.s6c * zeta2[k]))
        else:
            checks.below(tag + "S5", away, 2 * beta2[k] + 2 * claims.s5 * delta2[k], 1e-12 * G2[k])
            share = s.p * f.held[:, k] / q[k]
            apart = share @ ((paths.gradient[:, b] - G[k]) ** 2).sum(1)
            chi2 = float((((share - u[:, k]) ** 2)[f.held[:, k]] / share[f.held[:, k]]).sum())
            checks.below(tag + "floor", beta2[k], claims.floor * chi2 * apart, 1e-12 * G2[k])
    for i in range(f.clients):
        own = float(sigma2[f.held[i]].sum()) / steps
        checks.below(tag + "S6a", float(paths.delta2[i].sum()), claims.s6a * smooth**2 * paths.drift[i])
        outer, inner = claims.s6b
        checks.below(tag + "S6b", paths.drift[i], outer * kappa * gamma**2 * (own + inner * paths.gradient2[i].sum()))

    wide = s.hat * q if equal else s.tie * s.pi * q
    outer, inner = claims.s6
    mean_square = (u * paths.gradient2).sum(0)
    checks.below(
        tag + "S6",
        float(s.pi * q @ delta2),
        outer * kappa * gamma**2 * smooth**2 * float(wide @ (sigma2 / steps + inner * mean_square)),
    )
    change = float(slope @ move.mean) + second
    size = abs(float(slope @ move.mean)) + abs(second)
    decrease, sampled, drift_noise, drift_apart, *rest = claims.s7 if equal else claims.s7_weights
    right = (
        -decrease * gamma * float(s.pi * q @ G2)
        + sampled * smooth * gamma**2 * float(s.pi * q @ (s.phi * zeta2 + s.rho * sigma2 / steps))
        + kappa * smooth**2 * gamma**3 * float(wide @ (drift_noise * sigma2 / steps + drift_apart * zeta2))
        + sum(rest) * gamma * float(s.pi * q @ beta2)
    )
    checks.done[tag + "S7"] += 1
    checks.broken[tag + "S7"] += change > right + 1e-9 * size


def check_theorem(s: Setting, claims: Claims, start: Array, gamma: float, rounds: int, checks: Checks) -> None:
    """Hold Theorem 1, or 2, against T rounds, with the exact second moment of the server's model in each."""
    f, d = s.federation, s.federation.size
    mean_hessian, mean_slope = np.einsum("i,iab->ab", s.p, f.hessians), s.p @ f.slopes
    lowest = np.linalg.solve(mean_hessian, mean_slope)
    gap = float((start - lowest) @ mean_hessian @ (start - lowest) / 2)
    G2, zeta2, beta2 = _means_over_rounds(s, start, gamma, rounds)
    parts = [
        ComponentTerms(q, of.pi, of.rho, of.phi, most, z, n, b)
        for q, of, most, z, n, b in zip(s.q, s.samplings, s.hat, zeta2, f.sigma2, beta2, strict=True)
    ]
    left = float(s.pi * s.q @ G2)
    given = {"gap": gap, "smoothness": f.smoothness, "rate": gamma / f.steps, "rounds": rounds}
    assert d == len(start)
    if not s.equal:
        checks.below("Theorem 2", left, claims.weighted(parts, steps=f.steps, tie=s.tie, **given).total)
    elif gamma <= s.largest * (1 + 1e-12):
        checks.below("Theorem 1", left, claims.theorem(parts, steps=f.steps, **given).total)
        checks.below("plain gradient", float(s.q**2 @ G2), left)
    if s.equal and f.steps == 1:
        checks.below("Theorem 1'", left, claims.sharp(parts, **given).total)


def _means_over_rounds(s: Setting, start: Array, gamma: float, rounds: int) -> tuple[Array, Array, Array]:
    """Return the means over rounds of the squared G, the dissimilarity and the mismatch, in exact expectation."""
    f, d = s.federation, s.federation.size
    rate = gamma / f.steps
    pull, push, spread = np.zeros((f.clients, d, d)), np.zeros((f.clients, d)), np.zeros((f.clients, d, d))
    for i in range(f.clients):  # w_E = (I - pull) w + push + noise
        step, power = np.eye(d) - rate * f.hessians[i], np.eye(d)
        for _ in range(f.steps):
            push[i] += rate * power @ f.slopes[i]
            spread[i] += rate**2 * power @ f.noise[i] @ power.T
            power = power @ step
        pull[i] = np.eye(d) - power
    scale = s.weights[:, :, f.component]
    maps = np.zeros((len(scale), d + 1, d + 1))
    maps[:, :d, :d] = np.eye(d) - np.einsum("sia,iab->sab", scale, pull)
    maps[:, :d, d] = np.einsum("sia,ia->sa", scale, push)
    maps[:, d, d] = 1
    noise = np.zeros((d + 1, d + 1))
    noise[:d, :d] = np.einsum("s,sia,iab,sib->ab", f.likely, scale, spread, scale, optimize=True)
    once = np.einsum("s,sab,scd->acbd", f.likely, maps, maps).reshape((d + 1) ** 2, (d + 1) ** 2)
    slopes = np.concatenate([f.hessians, -f.slopes[:, :, None]], 2)  # of (w, 1)
    whole = np.einsum("i,iab->ab", s.p, slopes) / s.q[f.component][:, None]
    own = np.einsum("iak,iac->iac", s.u[:, f.component][:, :, None], slopes).sum(0)
    at = np.append(start, 1.0)
    square, total = np.outer(at, at), np.zeros((d + 1, d + 1))
    for _ in range(rounds):
        total += square / rounds
        square = (once @ square.reshape(-1)).reshape(d + 1, d + 1) + noise
    found = np.zeros((3, f.components))
    for k, b in enumerate(f.block):
        found[0, k] = np.einsum("ab,bc,ac->", whole[b], total, whole[b])
        found[2, k] = np.einsum("ab,bc,ac->", whole[b] - own[b], total, whole[b] - own[b])
        away = slopes[:, b] - own[b]
        found[1, k] = np.einsum("i,iab,bc,iac->", s.u[:, k], away, total, away)
    return found[0], found[1], found[2]
