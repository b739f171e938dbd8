r"""What a method may add to the loss of a batch: distillation from a teacher, a pull towards another model.

A term is a function of the network (with the model in training swapped in), the batch and the model's outputs for it. It returns
a scalar, which is added to :math:`\sum_o (n_o / B) L_o`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fedtap.batch import Batch, batch_size
from fedtap.components import ComponentState
from fedtap.network.architecture import TaskOutput
from fedtap.network.network import Network
from fedtap.tasks import TASK_TYPES


class Term(Protocol):
    """Something added to the loss."""

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        """Return what is added, a scalar."""


@dataclass(frozen=True, slots=True)
class Teacher:
    r"""Distillation: :math:`\sum_o (n_o / B) \lambda_o D_o`, with D the distance to another model's outputs.

    A task that ``weights`` does not name gets no distillation. ``temperature`` is tau of algorithm.md, section 3.
    """

    state: ComponentState
    weights: Mapping[str, float]
    temperature: float = 1.0

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        """Return the weighted distance of the outputs to the teacher's."""
        total = torch.zeros((), device=network.device)
        size = batch_size(batch)
        taught = network.run_as(self.state, batch)
        for part, mine, theirs in zip(batch, outputs, taught, strict=True):
            weight = self.weights.get(part.pair.task, 0.0)
            if weight > 0:
                kind = TASK_TYPES[part.pair.type]
                distance = kind.distance(mine.output, theirs.output, part.target, network.words, self.temperature)
                total = total + weight * distance * (len(part) / size)
        return total


@dataclass(frozen=True, slots=True)
class Proximal:
    r"""A pull towards another model: :math:`\frac{\mu}{2} \|w - w_0\|^2` over the tensors that ``anchor`` holds.

    Tensors of the model that the anchor lacks are free.
    """

    anchor: ComponentState
    strength: float

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        """Return half the strength times the squared distance."""
        total = torch.zeros((), device=network.device)
        for key, name, parameter in network.named():
            if key in self.anchor and name in self.anchor[key]:
                total = total + (parameter - self.anchor[key][name].to(parameter.device)).square().sum()
        return 0.5 * self.strength * total
