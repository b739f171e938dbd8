"""Where training starts: every parameter from its own generator, so that no start depends on which others exist."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Fill a module's parameters in place, in the order in which it registers its parts.

    Linear maps start Xavier-uniform with zero bias, convolutions Kaiming-uniform, normalisations as the identity; a module with
    a method ``start(generator)`` of its own fills its own parameters, after those of its parts.
    """
    for part in module.children():
        initialise(part, generator)
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.ConvTranspose2d | nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm) and module.weight is not None:
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    own = getattr(module, "start", None)
    if callable(own):
        own(generator)


def orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return a ``(rows, columns)`` matrix with orthonormal rows or columns, whichever are fewer."""
    matrix = torch.empty(rows, columns)
    nn.init.orthogonal_(matrix, generator=generator)
    return matrix


def xavier(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return Xavier-uniform matrices: the last two dimensions are (in, out), the others stack independent ones."""
    bound = (6 / (shape[-2] + shape[-1])) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
