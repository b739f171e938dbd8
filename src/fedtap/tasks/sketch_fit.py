r"""The least squares of a picture head: the sketch and canvas that fit some examples best, near those it has.

With h an example's features and E the enlargement of a sketch, the head's picture is :math:`E (W h + b) + c`. For a change D of W
and k of the canvas c, residuals r and a pull towards the head as it is,

.. math:: \min_{D, k} \; \tfrac{1}{n} \sum \|E D h + k - r\|^2 + \mu \|D\|^2

has a closed form. k takes up the mean of what is left, so features and residuals are centred; E is the same enlargement along
both sides, so that the eigenvectors of one side's :math:`M^T M` and of the features' covariance take the problem apart into one
division for each coefficient (ridge regression in its principal axes, Hoerl & Kennard 1970).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = 64
"""Pixels a side of a picture."""
SKETCH = 16
"""Pixels a side of what is enlarged."""


def enlargement() -> Tensor:
    """Return what enlarges one side of a sketch bilinearly, ``(SIZE, SKETCH)`` float64."""
    units = torch.eye(SKETCH, dtype=torch.float64)[None]
    return F.interpolate(units, size=SIZE, mode="linear", align_corners=False)[0].T.contiguous()


class SketchFit:
    """Sums over examples from which the best change of sketch and canvas follows, for any strength of the pull; float64.

    Parameters
    ----------
    dim
        The number d of features.
    scale
        By what a sketch is multiplied beside its enlargement.
    """

    def __init__(self, dim: int, scale: float) -> None:
        self._side = enlargement() * scale**0.5
        self._count = 0
        self._features = torch.zeros(dim, dtype=torch.float64)
        self._products = torch.zeros(dim, dim, dtype=torch.float64)
        self._residual = torch.zeros(3, SIZE, SIZE, dtype=torch.float64)
        self._drawn = torch.zeros(3 * SKETCH * SKETCH, dim, dtype=torch.float64)

    def add(self, features: Tensor, residuals: Tensor) -> None:
        """Add examples: features ``(n, d)``, and what their pictures lack ``(n, 3, SIZE, SIZE)``."""
        h, r = (given.detach().to("cpu", torch.float64) for given in (features, residuals))
        self._count += len(h)
        self._features += h.sum(dim=0)
        self._products += h.T @ h
        self._residual += r.sum(dim=0)
        self._drawn += self._shrunk(r).flatten(1).T @ h

    def solve(self, strength: float) -> tuple[Tensor, Tensor]:
        """Return the change of the sketch's weight ``(3 * SKETCH**2, d)`` and of the canvas ``(3, SIZE, SIZE)``, float64.

        Parameters
        ----------
        strength
            The pull mu as a multiple of the mean eigenvalue of the problem: at 1 it weighs as much as the examples do.

        Raises
        ------
        ValueError
            If no example was added, or the strength is not positive.
        """
        if self._count == 0 or not strength > 0:
            raise ValueError(f"{self._count} examples and strength {strength}; both must be positive")
        mean, left = self._features / self._count, self._residual / self._count
        covariance = self._products / self._count - torch.outer(mean, mean)
        cross = self._drawn / self._count - torch.outer(self._shrunk(left[None]).flatten(), mean)
        side, along = torch.linalg.eigh(self._side.T @ self._side)
        spread, axes = torch.linalg.eigh(covariance)
        sketch = torch.outer(side, side).flatten().repeat(3)
        curvature = torch.outer(sketch, spread.clamp(min=0))
        pull = strength * curvature.mean()
        change = self._turned(cross @ axes, along.T) / (curvature + pull.clamp(min=torch.finfo(torch.float64).tiny))
        change = self._turned(change, along) @ axes.T
        drawn = torch.einsum("ai,cij,bj->cab", self._side, (change @ mean).reshape(3, SKETCH, SKETCH), self._side)
        return change, left - drawn

    def _shrunk(self, pictures: Tensor) -> Tensor:
        """Return the adjoint of the enlargement, ``(n, 3, SKETCH, SKETCH)``."""
        return torch.einsum("ai,ncab,bj->ncij", self._side, pictures, self._side)

    @staticmethod
    def _turned(weight: Tensor, by: Tensor) -> Tensor:
        """Return a weight ``(3 * SKETCH**2, d)`` with both sides of its sketches turned."""
        return torch.einsum("ki,cijd,lj->ckld", by, weight.reshape(3, SKETCH, SKETCH, -1), by).flatten(0, 2)
