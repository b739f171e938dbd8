r"""Whose models are relevant to whom, from sketches of gradients taken on shared frozen ground (RELA, arXiv 2506.11024).

.. math:: w_{ij} = \frac{\exp(\cos(s_i, s_j) / \tau)}{\sum_k \exp(\cos(s_i, s_k) / \tau)}

with :math:`s_i` a noisy random projection of client i's gradient at a model that is the same for everybody. Not here: when
sketches are taken and what the weights weigh (``colora.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fedtap.components import ComponentState
from fedtap.runtime.randomness import torch_generator

_SPREAD = 0.05  # of the ground around the common start; at the start itself many branches pass no gradient


def ground(start: ComponentState, seed: int) -> ComponentState:
    """Return the shared frozen ground: the common start, shifted by noise that is the same at every client."""
    shifted = {
        key: {
            name: tensor
            + _SPREAD * torch.randn(tensor.shape, generator=torch_generator(seed, "ground", str(key), name))
            for name, tensor in named.items()
        }
        for key, named in start.items()
    }
    return ComponentState(shifted)


def sketch(gradient: ComponentState, size: int, seed: int) -> Tensor:
    """Return a gradient's random projection, ``(size,)`` float32 of length one; inner products survive it, up to noise.

    Every scalar is added, with a random sign, to a random place (feature hashing, Weinberger et al. 2009, arXiv 0902.2206). Signs
    and places follow from the run's seed and the parameter, so that gradients of different plans meet where they share parameters
    and nowhere else. Heads are left out: those of different tasks have nothing to compare.
    """
    sums = torch.zeros(size, dtype=torch.float64)
    for key, name, tensor in gradient.tensors():
        if key.kind != "head":
            draw = torch_generator(seed, "sketch", str(key), name)
            places = torch.randint(size, (tensor.numel(),), generator=draw)
            signs = torch.randint(2, (tensor.numel(),), generator=draw).double() * 2 - 1
            sums.index_add_(0, places, tensor.flatten().double() * signs)
    return unit(sums).float()


def sanitise(vector: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Return a vector with Gaussian noise of about ``noise`` times its length."""
    spread = noise * float(vector.norm()) / math.sqrt(vector.numel())
    return vector + spread * torch.randn(vector.shape, generator=generator)


def unit(vector: Tensor) -> Tensor:
    """Return a vector at length one; zero stays zero."""
    scaled: Tensor = vector / vector.norm().clamp_min(1e-30)
    return scaled


def relevance(sketches: Mapping[str, Tensor], temperature: float) -> Tensor:
    """Return weights ``(n, n)`` float64, each row a client's over all in the order given, itself included; rows sum to one."""
    rows = torch.stack([unit(vector.double()) for vector in sketches.values()])
    cosines: Tensor = rows @ rows.T
    return (cosines / temperature).softmax(dim=1)
