"""What a client's data say of a model's gradient: by task and component, its noise, and how fast it changes. Trains nothing.

Not here: what many clients' gradients say together (:mod:`fedtap.theory.estimators`), and when they are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor

from fedtap.batch import Batch
from fedtap.components import ComponentKey, ComponentState, TensorChoice
from fedtap.network.architecture import TaskOutput
from fedtap.network.network import Network
from fedtap.tasks import TASK_TYPES
from fedtap.theory.estimators import BatchGradients, ClientGradient, Vector
from fedtap.training.client import LocalClient
from fedtap.training.loop import TaskMeans

STEP = 1e-3
"""How far a model is moved to see its gradient change, as a share of the model's norm."""


@dataclass(frozen=True, slots=True)
class GradientLook:
    """What one client's data say of a model: a gradient per component, its loss, a lower estimate of L, and what it took."""

    gradients: Mapping[ComponentKey, ClientGradient]
    loss: float
    smoothness: float
    taken: int
    """Gradients of a mini-batch, each about as dear as a step of training."""


@dataclass(slots=True)
class _Losses:
    """A term that adds nothing, and remembers the losses that went by."""

    means: TaskMeans = field(default_factory=TaskMeans)

    def __call__(self, network: Network, batch: Batch, outputs: Sequence[TaskOutput]) -> Tensor:
        for part, output in zip(batch, outputs, strict=True):
            losses = TASK_TYPES[part.pair.type].losses(output.output, part.target, network.words).weighed(part.weights)
            self.means.add(part.pair.task, float(losses.total.detach().sum()), float(losses.units.sum()))
        return torch.zeros((), device=network.device)


def look_at_gradients(
    at_work: Callable[[], LocalClient], model: ComponentState, averaged: TensorChoice, *, examples: int, curvature: int
) -> GradientLook:
    """Return what a client's training examples say of a model that it holds.

    Parameters
    ----------
    at_work
        Returns the client as it is at the beginning of a round. It is asked anew where dropout is to fall as it did before.
    model
        All components of the client's plan.
    averaged
        Which tensors are averaged; the others are not looked at.
    examples
        Of each task, at the most; never fewer than two batches, since one batch says nothing of noise.
    curvature
        How often the model is moved along its gradient, and then along what changed most, to see the gradient change.
    """
    client = at_work()
    sizes = {task: client.data.size(task) for task in client.tasks}
    shares = {task: size / sum(sizes.values()) for task, size in sizes.items()}
    found: dict[ComponentKey, dict[str, BatchGradients]] = {}
    losses = _Losses()
    taken = 0
    for task, number in sizes.items():
        size = max(1, min(client.scenario.batch_size, number // 2))
        steps = min(max(2, ceil(examples / size)), number // size)
        generator = client.generator(f"theory {task}")
        for batch in client.data.draw(
            [task], size=size, steps=steps, generator=generator, device=client.network.device
        ):
            gradient = client.gradient(model, batch, [losses]).select(averaged)
            taken += 1
            for key in client.path(task) & gradient.keys():
                sums = found.setdefault(key, {}).setdefault(task, BatchGradients(number, size))
                sums.add(_flat(gradient[key]))
    smoothness = max(_curvatures(at_work, model, averaged, curvature), default=0.0)
    means = losses.means.means()
    return GradientLook(
        gradients={
            key: ClientGradient(tasks, shares, client.scenario.batch_size) for key, tasks in sorted(found.items())
        },
        loss=sum(shares[task] * means[task] for task in sizes),
        smoothness=smoothness,
        taken=taken + (curvature + 1 if curvature else 0),
    )


def _curvatures(
    at_work: Callable[[], LocalClient], model: ComponentState, averaged: TensorChoice, times: int
) -> Iterator[float]:
    """Iterate over how fast a batch's gradient changes: along itself, then along what has changed most (power iteration)."""
    if not times:
        return
    (batch,) = at_work().batches(1, "theory curvature")

    def gradient(state: ComponentState) -> ComponentState:
        return at_work().gradient(state, batch).select(averaged)

    here = gradient(model)
    direction, length = here, _norm(here)
    distance = STEP * max(_norm(model.select(averaged)), 1e-6)
    for _ in range(times):
        if length == 0:
            return
        step = direction.map(partial(torch.mul, distance / length))
        moved = model.overlay(model.select(averaged).zip(torch.add, step))
        direction = gradient(moved).zip(torch.sub, here)
        length = _norm(direction)
        yield length / distance


def _norm(state: ComponentState) -> float:
    return sqrt(sum(float(tensor.double().square().sum()) for _, _, tensor in state.tensors()))


def _flat(tensors: Mapping[str, Tensor]) -> Vector:
    return np.concatenate([tensor.double().reshape(-1).numpy() for _, tensor in sorted(tensors.items())])
