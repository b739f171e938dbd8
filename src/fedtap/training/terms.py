r"""What a method may add to the loss of a batch: a teacher, a pull towards another model, latents to keep apart.

A term is a function of the network (with the model in training swapped in), the batch and the model's outputs for it. It returns
a scalar, which is added to :math:`\sum_o (n_o / B) L_o`. A batch may be a part of a larger one, whose parts' terms are averaged
by their examples; what a task's mean weighs is then its :attr:`~fedtap.batch.TaskBatch.weight`. A term that no such mean gives
back, because it compares examples with each other, says so by ``whole_batch = True``, and is refused where batches are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from fedtap.batch import Batch, batch_size
from fedtap.components import ComponentState
from fedtap.network.architecture import TaskOutput
from fedtap.network.network import Network
from fedtap.tasks import TASK_TYPES
from fedtap.training.ensemble import ensemble_outputs


class Term(Protocol):
    """Something added to the loss."""

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        """Return what is added, a scalar."""


@dataclass(frozen=True, slots=True)
class Teacher:
    r"""Distillation: :math:`\sum_o (n_o / B) \lambda_o D_o`, with D the distance to another model's outputs.

    A task that ``weights`` does not name gets no distillation. ``temperature`` is tau of algorithm.md, section 3. With models
    ``ensemble_with`` the first the teacher is an ensemble, whose output is the mean of theirs (see :func:`ensemble_outputs`).
    """

    state: ComponentState
    weights: Mapping[str, float]
    temperature: float = 1.0
    ensemble_with: Sequence[ComponentState] = ()

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        """Return the weighted distance of the outputs to the teacher's."""
        total = torch.zeros((), device=network.device)
        size = batch_size(batch)
        taught = ensemble_outputs(network, network.run_as(self.state, batch), self.ensemble_with, batch)
        for part, mine, theirs in zip(batch, outputs, taught, strict=True):
            weight = self.weights.get(part.pair.task, 0.0)
            if weight > 0:
                kind = TASK_TYPES[part.pair.type]
                distance = kind.distance(mine.output, theirs.output, part.target, network.words, self.temperature)
                total = total + weight * distance * (part.weight / size)
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


@dataclass(frozen=True, slots=True)
class Disentangle:
    r"""Latents of one path kept apart between pairs: :math:`\gamma \, \overline{\cos^2(z_a, z_b)}`, the mean over all a, b.

    a and b are examples of the batch whose pairs differ in modality or task family, and with them in the path's experts; z is the
    masked mean of the path's tokens. A batch without two such examples has nothing to keep apart, and adds zero; so does an
    architecture without the path.
    """

    strength: float
    route: str = "modality-task"
    whole_batch: ClassVar[bool] = True

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        """Return the strength times the mean squared cosine."""
        latents: dict[tuple[str, str], list[Tensor]] = {}
        for part, output in zip(batch, outputs, strict=True):
            for stream in (stream for stream in output.streams if self.route in stream.routes):
                latents.setdefault((stream.modality, part.pair.family), []).append(stream.path(self.route).pooled())
        if len(latents) < 2:
            return torch.zeros((), device=network.device)
        return self.strength * mean_squared_cosine([torch.cat(held) for held in latents.values()])


def compares_examples(terms: Sequence[Term]) -> bool:
    """Tell whether one of the terms needs a batch's examples together."""
    return any(getattr(term, "whole_batch", False) for term in terms)


def mean_squared_cosine(groups: Sequence[Tensor]) -> Tensor:
    """Return the mean squared cosine over all pairs of rows of different groups, each ``(n, dim)``; two groups at least.

    >>> float(mean_squared_cosine([torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 3.0]])]))  # doctest: +ELLIPSIS
    0.5...
    """
    rows = F.normalize(torch.cat(list(groups)), dim=1)
    group = torch.cat([torch.full((len(held),), i, device=rows.device) for i, held in enumerate(groups)])
    apart = group[:, None] != group[None, :]
    return (rows @ rows.T)[apart].square().mean()
