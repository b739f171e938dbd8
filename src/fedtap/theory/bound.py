r"""The bound of docs/theory.md on the server's gradient, its terms apart, and when it holds. Numbers in, numbers out.

With components k, :math:`\tau` local steps, :math:`\gamma = \eta \tau` (rate times steps), :math:`\kappa = 1 - 1/\tau`, and bars
for means over T rounds:

.. math::

    \frac1T \sum_t \sum_k \pi_k q_k \mathbb{E}\|G_k\|^2 \le
    \frac73 \frac{F(w^0) - F^*}{\gamma T}
    + \frac73 L \gamma \sum_k \pi_k q_k \Big(\varphi_k \bar\zeta_k^2 + \rho_k \frac{\sigma_k^2}{\tau}\Big)
    + \kappa L^2 \gamma^2 \sum_k \hat\pi_k q_k \Big(\frac{2 \sigma_k^2}{\tau} + \frac83 \bar\zeta_k^2\Big)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

Key = TypeVar("Key")
Client = TypeVar("Client")


@dataclass(frozen=True, slots=True)
class ComponentTerms:
    r"""What the bound asks of one component.

    Parameters
    ----------
    share
        :math:`q_k`, the share of clients that hold it (Theorem 2: the sum of their weights in the objective).
    pi, rho, phi
        See :mod:`fedtap.theory.sampling`.
    most
        :math:`\hat\pi_k`, the largest pi of the components that some client holds together with it (:func:`ties`).
    dissimilarity
        :math:`\bar\zeta_k^2`, how far the holders' gradients are from their mean, squared; averaged over the rounds.
    noise
        :math:`\sigma_k^2`, the largest variance of a holder's mini-batch gradient.
    mismatch
        :math:`\bar\beta_k^2`, of weights other than the objective's (Theorem 2).
    """

    share: float
    pi: float
    rho: float
    phi: float
    most: float
    dissimilarity: float
    noise: float
    mismatch: float = 0.0


@dataclass(frozen=True, slots=True)
class Bound:
    """The bound's terms; ``weights`` is the floor of Theorem 2, and 0 in the others."""

    optimisation: float
    sampling: float
    drift: float
    weights: float = 0.0

    @property
    def total(self) -> float:
        """Their sum."""
        return self.optimisation + self.sampling + self.drift + self.weights


def ties(pi: Mapping[Key, float], holdings: Mapping[Client, Iterable[Key]]) -> tuple[dict[Key, float], float]:
    r"""Return :math:`\hat\pi_k` of each component, and r, the largest :math:`\hat\pi_k / \pi_k`.

    Only components that some client holds together are compared; with private components alone, or equal holders, r is 1.

    >>> ties({"trunk": 1.0, "a": 0.5, "b": 0.25}, {1: ["trunk", "a"], 2: ["b"]})
    ({'trunk': 1.0, 'a': 1.0, 'b': 0.25}, 2.0)
    """
    most = dict(pi)
    for keys in holdings.values():
        mine = list(keys)
        top = max((pi[key] for key in mine), default=0.0)
        for key in mine:
            most[key] = max(most[key], top)
    return most, max((most[key] / pi[key] for key in pi), default=1.0)


def largest_step(smoothness: float, steps: int, tie: float) -> float:
    r"""Return the largest :math:`\gamma` (rate times local steps) for which Theorems 1 and 2 hold; ``tie`` is r.

    >>> largest_step(2.0, steps=1, tie=100.0), largest_step(2.0, steps=2, tie=8.0)
    (0.125, 0.0625)
    """
    return 1 / (4 * smoothness * max(1.0, sqrt((1 - 1 / steps) * tie)))


def bound(
    components: Iterable[ComponentTerms], *, gap: float, smoothness: float, rate: float, steps: int, rounds: int
) -> Bound:
    """Return Theorem 1's bound.

    Parameters
    ----------
    components
        All of them.
    gap
        What the objective can still fall by at the start, F(w0) - F*.
    smoothness
        L: how fast the clients' gradients change, at the most.
    rate
        Of a local step.
    steps
        Local steps a round, tau.
    rounds
        T.

    Raises
    ------
    ValueError
        If the step is too long for L: there is no bound then (:func:`largest_step`; with one local step 1 / L will do).
    """
    parts = list(components)
    gamma = rate * steps
    tie = max((part.most / part.pi for part in parts), default=1.0)
    _check(gamma, largest_step(smoothness, steps, tie))
    spread = sum(p.pi * p.share * (p.phi * p.dissimilarity + p.rho * p.noise / steps) for p in parts)
    drift = sum(p.most * p.share * (2 * p.noise / steps + 8 / 3 * p.dissimilarity) for p in parts)
    return Bound(
        optimisation=7 / 3 * gap / (gamma * rounds),
        sampling=7 / 3 * smoothness * gamma * spread,
        drift=(1 - 1 / steps) * (smoothness * gamma) ** 2 * drift,
    )


def one_step_bound(
    components: Iterable[ComponentTerms], *, gap: float, smoothness: float, rate: float, rounds: int
) -> Bound:
    """Return the sharper bound of Theorem 1' for one local step a round; it asks for a step of at most 1 / L."""
    _check(rate, 1 / smoothness)
    spread = sum(p.pi * p.share * (p.phi * p.dissimilarity + p.rho * p.noise) for p in components)
    return Bound(optimisation=2 * gap / (rate * rounds), sampling=smoothness * rate * spread, drift=0.0)


def weighted_bound(
    components: Iterable[ComponentTerms],
    *,
    gap: float,
    smoothness: float,
    rate: float,
    steps: int,
    rounds: int,
    tie: float,
) -> Bound:
    """Return Theorem 2's bound, where holders count by weights; ``tie`` is its r, ``most`` of the components is not used."""
    parts = list(components)
    gamma = rate * steps
    _check(gamma, largest_step(smoothness, steps, tie))
    spread = sum(p.pi * p.share * (p.phi * p.dissimilarity + p.rho * p.noise / steps) for p in parts)
    drift = sum(p.pi * p.share * (6 * p.noise / steps + 8 * p.dissimilarity) for p in parts)
    return Bound(
        optimisation=4 * gap / (gamma * rounds),
        sampling=4 * smoothness * gamma * spread,
        drift=(1 - 1 / steps) * tie * (smoothness * gamma) ** 2 * drift,
        weights=5 * sum(p.pi * p.share * p.mismatch for p in parts),
    )


def _check(gamma: float, most: float) -> None:
    if gamma > most * (1 + 1e-12):
        raise ValueError(f"a round's step of {gamma:.4g} is longer than {most:.4g}, up to which the theorem holds")
