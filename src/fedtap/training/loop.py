r"""The local training loop: an optimizer on :math:`\sum_o (n_o / B) L_o`, and whatever terms a method adds.

``L_o`` is the mean loss of the batch's examples of task o (cross-entropy, or mean squared error in the normalised image space);
with a task's ``class_weights`` each example's loss is multiplied by its class's weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from fedtap.batch import Batch, batch_size, micro_batches
from fedtap.components import ComponentState, TensorChoice
from fedtap.network.network import Network
from fedtap.privacy.dp_sgd import DPSGD, dp_sgd_step
from fedtap.scenario.scenario import TrainingSettings
from fedtap.tasks import TASK_TYPES
from fedtap.training.ensemble import ensemble_outputs
from fedtap.training.optimizer import clip, make_optimizer
from fedtap.training.terms import Term


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a batch under the model that is in the network at that moment, a scalar.

    Parameters
    ----------
    loss
        Returns it.
    micro
        How many examples go through the network at once; None: all of a batch.
    asked
        Called whenever a gradient is asked for.
    """

    loss: Callable[[Batch], Tensor]
    micro: int | None = None
    asked: Callable[[], None] = lambda: None


GradientRule: TypeAlias = Callable[[Network, Batch, Objective], None]
"""Leaves in ``.grad`` of the network's parameters what the optimizer is to step along. It may move the parameters while it
works (a gradient at another point), and must put them back."""


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
    network: Network,
    batch: Batch,
    means: TaskMeans | None = None,
    terms: Sequence[Term] = (),
    ensemble_with: Sequence[ComponentState] = (),
) -> Tensor:
    """Return the loss of a batch under the model swapped into the network, its terms added, a scalar.

    A part of a larger batch gives its share of the whole's loss, as a mean over the part's examples.
    With models ``ensemble_with`` it, the loss and the terms are those of their common answer (see :func:`ensemble_outputs`).
    """
    outputs = ensemble_outputs(network, network(batch), ensemble_with, batch)
    total = torch.zeros((), device=network.device)
    size = batch_size(batch)
    for part, output in zip(batch, outputs, strict=True):
        losses = TASK_TYPES[part.pair.type].losses(output.output, part.target, network.words).weighed(part.weights)
        if means is not None:
            means.add(part.pair.task, float(losses.total.detach().sum()), float(losses.units.sum()))
        total = total + losses.mean() * (part.weight / size)
    for term in terms:
        total = total + term(network, batch, outputs)
    return total


def plain_gradient(network: Network, batch: Batch, objective: Objective) -> None:
    """Leave the gradient of the objective where the model stands: what every method does that names no other rule.

    A batch that is too large to go through the network at once is cut; its gradient is the mean of the parts', by examples, and
    what the examples of a part weigh within it is what they weigh in the whole (:func:`fedtap.batch.micro_batches`). A term
    beside the losses that is no mean over examples thus counts once.
    """
    network.zero_grad(set_to_none=True)
    objective.asked()
    for part in micro_batches(batch, objective.micro):
        loss = objective.loss(part)
        if part is not batch:
            loss = loss * (batch_size(part) / batch_size(batch))
        if loss.requires_grad:  # a batch may hold nothing that reaches the parameters that move
            torch.autograd.backward(loss)


def train(
    network: Network,
    batches: Iterable[Batch],
    rates: Sequence[float],
    settings: TrainingSettings,
    *,
    terms: Sequence[Term] = (),
    ensemble_with: Sequence[ComponentState] = (),
    only: TensorChoice | None = None,
    gradient: GradientRule = plain_gradient,
    after_step: Callable[[int], None] | None = None,
    dp_sgd: DPSGD | None = None,
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
        Optimizer, weight decay, gradient clipping, and how many examples go through the network at once.
    terms
        What is added to the loss.
    ensemble_with
        Models with the same components that do not move: the loss is that of the mean of all their outputs with this one's.
    only
        Tells by key and parameter name which parameters move; the others stay bit for bit. Default: all. Where it chooses none,
        the losses are measured and nothing moves.
    gradient
        What the optimizer steps along.
    after_step
        Called with the number of steps done.
    dp_sgd
        How each step clips the gradients of single examples and adds noise (:mod:`fedtap.privacy.dp_sgd`), in place of a
        gradient rule and of clipping the whole gradient; batches may then be empty.

    Returns
    -------
    dict
        Task -> mean training loss over all examples seen, before each step's update (nats, or MSE), without the terms.

    Raises
    ------
    FloatingPointError
        If a loss is not finite: nothing sensible can follow.
    """
    chosen = [(parameter, only is None or only(key, name)) for key, name, parameter in network.named()]
    moving = [parameter for parameter, moves in chosen if moves]
    optimizer = make_optimizer(moving, settings) if moving else None
    noisy = None if dp_sgd is None or optimizer is None else dp_sgd.wrap(optimizer)
    means = TaskMeans()
    network.train()
    try:
        for parameter, moves in chosen:
            parameter.requires_grad_(moves)
        for step, (batch, rate) in enumerate(zip(batches, rates, strict=True), start=1):
            loss = _checked(network, means, terms, ensemble_with, step)
            if optimizer is not None:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            if noisy is not None:
                dp_sgd_step(network, moving, noisy, batch, loss)
            else:
                gradient(network, batch, Objective(loss, settings.micro_batch))
                if optimizer is not None:
                    clip(moving, settings.clip)
                    optimizer.step()
            if after_step is not None:
                after_step(step)
    finally:
        for parameter, _ in chosen:
            parameter.requires_grad_(True)
    return means.means()


def _checked(
    network: Network, means: TaskMeans, terms: Sequence[Term], ensemble_with: Sequence[ComponentState], step: int
) -> Callable[[Batch], Tensor]:
    """Return the loss of a step, which refuses one that is not finite."""

    def objective(batch: Batch) -> Tensor:
        loss = batch_loss(network, batch, means, terms, ensemble_with)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the training loss is {float(loss.detach())} at step {step}; lower training.lr")
        return loss

    return objective
