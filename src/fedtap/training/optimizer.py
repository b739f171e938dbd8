"""The optimizers of the local loop: torch's own arithmetic, without the compiler that torch loads along with them.

``torch.optim`` wraps its steps for ``torch.compile``, and what it wraps them with (``torch._dynamo``) takes as long to load as
all the rest of torch. Nothing is compiled here, so the wrapped functions are called as they are; steps are the same to the bit.
Where a version of torch wraps them otherwise its own way is taken.

Where torch has them, the fused steps are taken: one kernel a tensor, in place of a dozen. A component is many small tensors, so
that the calls cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from fedtap.scenario.scenario import TrainingSettings

FUSED = frozenset({"cpu", "cuda"})
"""The devices for which every torch that fedtap takes has fused steps."""


def make_optimizer(parameters: Sequence[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name; each step sets its rate. AdamW's decay is decoupled, SGD's in the gradient."""
    fused = all(parameter.device.type in FUSED for parameter in parameters)
    if settings.optimizer == "sgd":
        return SGD(parameters, lr=0.0, weight_decay=settings.weight_decay, fused=fused)
    return AdamW(parameters, lr=0.0, weight_decay=settings.weight_decay, fused=fused)


def clip(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Scale the whole gradient down to a norm, where it is longer; all tensors in one call where torch has that."""
    together = all(parameter.device.type in FUSED for parameter in parameters)
    torch.nn.utils.clip_grad_norm_(parameters, norm, foreach=together or None)


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that torch has wrapped."""
    bare: Callable[..., Any] = getattr(function, "__wrapped__", function)
    return bare


def _without_gradients(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step as torch's wrapper takes it: nothing of it is to be differentiated."""
    bare = _bare(step)

    def taken(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        with torch.no_grad():
            return bare(self, closure)

    return taken


class SGD(torch.optim.SGD):
    """Stochastic gradient descent."""

    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    step = _without_gradients(torch.optim.SGD.step)


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    step = _without_gradients(torch.optim.AdamW.step)
