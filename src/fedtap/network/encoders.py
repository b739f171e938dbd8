"""The trainable ends of the frozen encoders: tower features in, tokens of the fusion's width out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedtap.network.initialisation import orthogonal


class Encoder(nn.Module):
    """``LayerNorm(Linear(normalise(x))) + position + kind``: the encoder's end of one modality.

    The tower's features are first normalised without parameters, since towers differ in scale by orders of magnitude.

    Parameters
    ----------
    features
        Width of the tower's tokens.
    dim
        Width of the fusion.
    positions
        Number of learned positions for towers whose tokens lie on a grid without knowing where; 0 for the others.
    adapters
        Shapes of the matrices of the tower's low-rank adapters, by name; they are held here and used by the tower.
    """

    def __init__(
        self, features: int, dim: int, positions: int, adapters: Mapping[str, tuple[int, int]] | None = None
    ) -> None:
        super().__init__()
        matrices = {name: nn.Parameter(torch.empty(shape)) for name, shape in (adapters or {}).items()}
        self.adapters = nn.ParameterDict(matrices)
        self.project = nn.Linear(features, dim)
        self.norm = nn.LayerNorm(dim)
        self.kind = nn.Parameter(torch.empty(dim))
        self.position = nn.Parameter(torch.empty(positions, dim)) if positions else None

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Start with an orthogonal projection, which keeps the features' geometry, and small embeddings.

        Adapters start as LoRA's do, A drawn and B zero, so that the adapted tower starts as the frozen one.
        """
        rows, columns = self.project.weight.shape
        self.project.weight.copy_(orthogonal(rows, columns, generator))
        self.kind.normal_(std=0.02, generator=generator)
        if self.position is not None:
            self.position.normal_(std=0.02, generator=generator)
        for name, matrix in self.adapters.items():
            if name.endswith("_A"):
                nn.init.kaiming_uniform_(matrix.T, a=5**0.5, generator=generator)
            else:
                matrix.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, tokens, features)`` to ``(n, tokens, dim)``."""
        tokens: Tensor = self.norm(self.project(F.layer_norm(x, x.shape[-1:]))) + self.kind
        return tokens if self.position is None else tokens + self.position


class SharedProjection(nn.Linear):
    """The projection into the space that all modalities share; it starts as the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    @torch.no_grad()
    def start(self, _generator: torch.Generator) -> None:
        """Start as the identity."""
        self.weight.copy_(torch.eye(self.in_features))
        self.bias.zero_()
