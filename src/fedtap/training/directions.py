"""Where a client's examples lie as gates see them: the mean direction of each component's. Forward passes only, no step.

Not here: what a gate makes of it (:mod:`fedtap.network.blocks`), and which method asks.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from fedtap.components import ComponentKey, ComponentState
from fedtap.training.client import LocalClient


@torch.no_grad()
def mean_directions(
    client: LocalClient, state: ComponentState, examples: int, purpose: str
) -> dict[ComponentKey, Tensor]:
    r"""Return for each component :math:`\frac{1}{S} \sum_s d(x_s)` over drawn training examples whose path uses it, ``(dim,)``.

    With :math:`d` of length one, its product with an example's direction is the example's mean cosine to them. An example of two
    modalities that run through the fusion apart has two directions. In a network without gates there is none, hence nothing.

    Parameters
    ----------
    client
        The client at work.
    state
        The model in which the examples are seen.
    examples
        S, rounded up to whole batches.
    purpose
        The name of the draw.
    """
    client.network.load(state)
    client.network.eval()
    sums: dict[ComponentKey, Tensor] = {}
    counts: dict[ComponentKey, int] = {}
    for batch in client.batches(ceil(examples / client.scenario.batch_size), purpose):
        for part, output in zip(batch, client.network(batch), strict=True):
            seen = [stream.direction for stream in output.streams if stream.direction is not None]
            for found in seen:
                total = found.double().sum(dim=0).cpu()
                for key in client.path(part.pair.task):
                    sums[key] = sums.get(key, torch.zeros_like(total)) + total
                    counts[key] = counts.get(key, 0) + len(found)
    return {key: (sums[key] / counts[key]).float() for key in sorted(sums)}
