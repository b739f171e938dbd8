"""A gradient at another point: parameters that are moved for a while and come back bit for bit. Not here: where they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fedtap.components import ComponentKey
from fedtap.network.network import Network

Shift: TypeAlias = Callable[[ComponentKey, str, nn.Parameter], Tensor]
"""Returns where a parameter (key, name, parameter) goes, a tensor of its shape on any device."""


@contextmanager
def perturbed(network: Network, shift: Shift) -> Iterator[None]:
    """Put the model in the network elsewhere for the duration; gradients taken there stay in ``.grad``."""
    kept = [(parameter, parameter.detach().clone()) for parameter in network.trainable()]
    try:
        with torch.no_grad():
            for key, name, parameter in network.named():
                parameter.copy_(shift(key, name, parameter))
        yield
    finally:
        with torch.no_grad():
            for parameter, was in kept:
                parameter.copy_(was)
