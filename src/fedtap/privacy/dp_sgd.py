r"""DP-SGD: gradients are clipped example by example, summed, and noised. Abadi et al. 2016, arXiv 1607.00133.

.. math::
    g = \frac{1}{B} \Big( \sum_{x \in batch} \nabla f(x) \min\big(1, C / \|\nabla f(x)\|\big) + \mathcal N(0, z^2 C^2) \Big)

where each of the client's training examples is in the batch with probability :math:`q = \min(1, B / n)`, independently (Poisson
sampling), and n is the number of examples as the client tells it to the server. Opacus' optimizer clips, adds the noise and takes
the step. Gradients of single examples come from batches of one: Opacus' own way, hooks on modules, does not follow a network that
sends each example through other experts.

Not here: what a number of such steps costs in privacy (fedtap.privacy.accounting).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from fedtap.batch import Batch, split
from fedtap.network.network import Network
from fedtap.scenario.safety import NoiseSettings

CHUNK = 8
"""Examples whose gradients are in memory at a time."""


class Stepper(Protocol):
    """What is asked of an optimizer that clips and adds noise."""

    def signal_skip_step(self, do_skip: bool = True) -> None:
        """Have the next step only add up clipped gradients."""

    def step(self) -> None:
        """Take up the examples' gradients, and unless the step is to be skipped add noise and move."""

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Forget the examples' gradients."""


@dataclass(frozen=True, slots=True)
class DPSGD:
    """How a training is made private.

    Parameters
    ----------
    settings
        The clipping norm C and the noise multiplier z.
    expected
        The batch size B that sampling aims at.
    generator
        The noise is drawn from it; on the device of the parameters.
    """

    settings: NoiseSettings
    expected: int
    generator: torch.Generator

    def wrap(self, optimizer: torch.optim.Optimizer) -> Stepper:
        """Return Opacus' optimizer around another."""
        from opacus.optimizers import DPOptimizer

        wrapped = DPOptimizer(
            optimizer,
            noise_multiplier=self.settings.noise,
            max_grad_norm=self.settings.clip,
            expected_batch_size=self.expected,
            generator=self.generator,
        )
        return cast(Stepper, wrapped)


def dp_sgd_step(
    network: Network, moving: Sequence[nn.Parameter], optimizer: Stepper, batch: Batch, loss: Callable[[Batch], Tensor]
) -> None:
    """Take one step along the clipped and noised gradient of a batch, which may be empty.

    ``loss`` is the objective; it is asked of one example at a time, so whatever a method adds to it is clipped with it, and
    an example's loss is its own mean, whatever the others' length. What compares examples has none to compare: the caller
    refuses it.
    """
    examples = list(split(batch, 1)) if batch else []
    chunks = [examples[start : start + CHUNK] for start in range(0, len(examples), CHUNK)] or [[]]
    for place, chunk in enumerate(chunks):
        grads: list[list[Tensor]] = [[] for _ in moving]
        for example in chunk:
            network.zero_grad(set_to_none=True)
            value = loss(example)
            if value.requires_grad:
                torch.autograd.backward(value)
            for held, parameter in zip(grads, moving, strict=True):
                grad = parameter.grad
                held.append(torch.zeros_like(parameter) if grad is None else grad.detach().clone())
        for held, parameter in zip(grads, moving, strict=True):
            gathered = torch.stack(held) if held else parameter.new_zeros((0, *parameter.shape))
            parameter.grad_sample = gathered  # type: ignore[attr-defined]  # where Opacus looks for it
        if place < len(chunks) - 1:
            optimizer.signal_skip_step()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
