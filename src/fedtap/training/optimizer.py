"""The optimizers of the local loop: torch's own arithmetic, without the compiler that torch loads along with them.

``torch.optim`` wraps its steps for ``torch.compile``, and what it wraps them with (``torch._dynamo``) takes as long to load as
all the rest of torch. Nothing is compiled here, so the wrapped functions are called as they are; steps are the same to the bit.
Where a version of torch wraps them otherwise its own way is taken.

Where torch has them, the fused steps are taken: one kernel a tensor, in place of a dozen. A component is many small tensors, so
that the calls cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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


KERNEL = "_fused_adamw_"


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101).

    A fused step is one call of a kernel. Around it torch gathers the tensors of every step anew, in Python, tensor by tensor,
    which for small components costs more than the kernel does. Here they are gathered once.
    """

    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    _of_torch = _without_gradients(torch.optim.AdamW.step)
    _gathered: Sequence[_Gathered] | None = None

    def step(self, closure: Any = None) -> Any:
        """Take a step; a parameter without a gradient stays as it is, and its count of steps too."""
        if self._gathered is None:
            direct = hasattr(torch, KERNEL) and all(map(_is_direct, self.param_groups))
            self._gathered = [_Gathered.of(group["params"]) for group in self.param_groups] if direct else []
        if not self._gathered:
            return self._of_torch(closure)
        loss = None if closure is None else closure()
        with torch.no_grad():
            for group, gathered in zip(self.param_groups, self._gathered, strict=True):
                gathered.step(group)
        return loss


def _is_direct(group: Mapping[str, Any]) -> bool:
    """Tell whether a group's step is one call of the kernel: fused, and all tensors of one kind in one place."""
    kinds = {(parameter.device, parameter.dtype) for parameter in group["params"]}
    return bool(group["fused"]) and len(kinds) == 1 and not (group["amsgrad"] or group["maximize"])


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The parameters of a group, their two moments and their counts of steps, in one order."""

    parameters: Sequence[nn.Parameter]
    first: Sequence[Tensor]
    second: Sequence[Tensor]
    steps: Sequence[Tensor]

    @classmethod
    def of(cls, parameters: Sequence[nn.Parameter]) -> _Gathered:
        first, second = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
        steps = [torch.zeros((), dtype=torch.float32, device=parameter.device) for parameter in parameters]
        return cls(parameters, first, second, steps)

    def step(self, group: Mapping[str, Any]) -> None:
        gradients = [parameter.grad for parameter in self.parameters]
        moving = [place for place, gradient in enumerate(gradients) if gradient is not None]
        if not moving:
            return
        lists: list[Any] = [self.parameters, gradients, self.first, self.second, self.steps]
        if len(moving) < len(gradients):
            lists = [[each[place] for place in moving] for each in lists]
        parameters, gradients, firsts, seconds, steps = lists
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        getattr(torch, KERNEL)(
            parameters,
            gradients,
            firsts,
            seconds,
            [],  # of AMSGrad
            steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
