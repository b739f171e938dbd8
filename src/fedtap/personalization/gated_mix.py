r"""A model in training mixed with a frozen one by a learned gate per component: :math:`(1 - \sigma(b_c)) v_c + \sigma(b_c) w_c`.

Where both models' modules are linear in what is trained, mixing weights is mixing outputs. Not here: which models these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

import torch
from torch import Tensor

from fedtap.batch import Batch
from fedtap.components import ComponentKey, ComponentState, towards
from fedtap.network.network import Network
from fedtap.training.loop import Objective, plain_gradient
from fedtap.training.perturbed import perturbed

LIMIT = 4.0  # of the logits: neither model is ever cut off for good


def share(logit: float) -> float:
    """Return the frozen model's share.

    >>> share(0.0)
    0.5
    """
    return 1 / (1 + exp(-logit))


def blend(local: ComponentState, frozen: ComponentState, logits: Mapping[ComponentKey, float]) -> ComponentState:
    """Return the mixed model; a component without a logit has half of each."""
    return towards(local, frozen, {key: share(logits.get(key, 0.0)) for key in local})


class GatedMix:
    r"""A gradient rule: the loss is that of the mix, the model in training and the gates move.

    .. math::
        \nabla_v f = (1 - \sigma) \nabla f, \quad
        b_c \leftarrow b_c - \eta \, \sigma (1 - \sigma) \langle \nabla_c f, w_c - v_c \rangle

    Parameters
    ----------
    frozen
        w, with the components of the model in training.
    logits
        b per component to start from; 0 where there is none. :attr:`logits` holds them as they are now.
    rate
        The step of the gates, :math:`\eta`.
    """

    def __init__(self, frozen: ComponentState, logits: Mapping[ComponentKey, float], rate: float) -> None:
        self.logits = {key: logits.get(key, 0.0) for key in frozen}
        self._frozen = frozen
        self._rate = rate

    def __call__(self, network: Network, batch: Batch, objective: Objective) -> None:
        """Leave the gradient of the model in training in ``.grad``, and move the gates."""
        with perturbed(network, self._mixed):
            plain_gradient(network, batch, objective)
        slopes: dict[ComponentKey, float] = {}
        for key, name, parameter in network.named():
            if parameter.grad is not None:
                away = self._frozen[key][name].to(parameter.device) - parameter.detach()
                slopes[key] = slopes.get(key, 0.0) + float((parameter.grad * away).sum())
                parameter.grad.mul_(1 - share(self.logits[key]))
        for key, slope in slopes.items():
            s = share(self.logits[key])
            self.logits[key] = min(LIMIT, max(-LIMIT, self.logits[key] - self._rate * s * (1 - s) * slope))

    def _mixed(self, key: ComponentKey, name: str, parameter: Tensor) -> Tensor:
        return torch.lerp(parameter, self._frozen[key][name].to(parameter.device), share(self.logits[key]))
