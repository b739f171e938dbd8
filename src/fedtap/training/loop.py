r"""The local training loop: AdamW on :math:`\sum_o (n_o / B) L_o`, with an optional teacher.

``L_o`` is the mean loss of the batch's examples of task o (cross-entropy, or mean squared error in the normalised image space).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedtap.batch import Batch, batch_size
from fedtap.components import ComponentState
from fedtap.config import TrainingSettings
from fedtap.network.network import Network
from fedtap.tasks import TASK_TYPES


@dataclass(frozen=True, slots=True)
class Teacher:
    """What distillation adds to the loss: per task its weight times the distance to this model's outputs.

    A task that ``weights`` does not name gets no distillation. ``temperature`` is tau of algorithm.md, section 3.
    """

    state: ComponentState
    weights: Mapping[str, float]
    temperature: float = 1.0


@dataclass(slots=True)
class TaskMeans:
    """Running means of task losses, over examples."""

    sums: dict[str, float] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)

    def add(self, task: str, total: float, units: float) -> None:
        """Add a batch's sum of losses over its units."""
        self.sums[task] = self.sums.get(task, 0.0) + total
        self.units[task] = self.units.get(task, 0.0) + units

    def means(self) -> dict[str, float]:
        """Return task -> mean loss."""
        return {task: total / max(self.units[task], 1.0) for task, total in self.sums.items()}


def batch_loss(
    network: Network, batch: Batch, means: TaskMeans | None = None, teacher: Teacher | None = None
) -> Tensor:
    """Return the loss of a batch under the model swapped into the network, a scalar."""
    outputs = network(batch)
    taught = network.run_as(teacher.state, batch) if teacher is not None else outputs
    total = torch.zeros((), device=network.device)
    size = batch_size(batch)
    for part, mine, theirs in zip(batch, outputs, taught, strict=True):
        kind = TASK_TYPES[part.pair.type]
        losses = kind.losses(mine.output, part.target, network.words)
        loss = losses.mean()
        if means is not None:
            means.add(part.pair.task, float(losses.total.detach().sum()), float(losses.units.sum()))
        weight = teacher.weights.get(part.pair.task, 0.0) if teacher is not None else 0.0
        if teacher is not None and weight > 0:
            distance = kind.distance(mine.output, theirs.output, part.target, network.words, teacher.temperature)
            loss = loss + weight * distance
        total = total + loss * (len(part) / size)
    return total


def train(
    network: Network,
    batches: Iterable[Batch],
    rates: Sequence[float],
    settings: TrainingSettings,
    *,
    teacher: Teacher | None = None,
    after_step: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Train the model swapped into the network, in place, one optimizer step a batch.

    Parameters
    ----------
    network
        Holds the model; only its parameters move.
    batches
        As many as ``rates``.
    rates
        The learning rate of each step.
    settings
        Weight decay and gradient clipping.
    teacher
        For distillation.
    after_step
        Called with the number of steps done.

    Returns
    -------
    dict
        Task -> mean training loss over all examples seen, before each step's update (nats, or MSE).

    Raises
    ------
    FloatingPointError
        If a loss is not finite: nothing sensible can follow.
    """
    parameters = network.trainable()
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=settings.weight_decay)
    means = TaskMeans()
    network.train()
    for step, (batch, rate) in enumerate(zip(batches, rates, strict=True), start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = batch_loss(network, batch, means, teacher)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the training loss is {float(loss.detach())} at step {step}; lower training.lr")
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        if after_step is not None:
            after_step(step)
    return means.means()
