r"""APFL: a mixture of an own and the common model, learned by component. Deng, Kamani, Mahdavi 2020, arXiv 2003.13461.

Client i trains the common model w on its own data and, beside it, a private model v where the two are mixed:

.. math::
    \bar v = a v + (1 - a) w, \qquad
    w \leftarrow w - \eta \nabla f_i(w), \qquad
    v \leftarrow v - \eta a \nabla f_i(\bar v), \qquad
    a_c \leftarrow a_c - \eta_a \langle v_c - w_c, \nabla_c f_i(\bar v) \rangle

with :math:`a_c` in [0, 1] for each component c, and :math:`a \nabla f_i(\bar v)` the gradient with respect to v. Only w is
sent. The personal model is the mixture of v with the finished w.

Differences from the paper: a is one number a component, not one a client (a body may be common where a head is not). At
equal compute the local steps are split between w and v (``compute: paper`` gives each all of them). w takes its steps first
and is noted before each, so that v and a then see w as it was: the paper's turns by step, with one network. AdamW takes the
steps of w and v: it divides the factor a out of v's gradient again, so that v moves at full speed also where a is small
(``sgd`` keeps the factor). a has a plain gradient step, as in the paper, with a rate of its own: Adam would move it by the
same length whatever it had to gain. A client's first v is the slice that it receives then; the paper's all start at the
common start. The mixture then takes the low-rate fine-tuning of every personalising method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from fedtap.algorithms.base import Algorithm, ClientState, Params, Update
from fedtap.algorithms.compute import Compute, split
from fedtap.batch import Batch
from fedtap.components import ComponentKey, ComponentState, towards
from fedtap.network.network import Network
from fedtap.scenario.settings import Fraction, NonNegative
from fedtap.training.client import LocalClient
from fedtap.training.loop import GradientRule, Objective, plain_gradient
from fedtap.training.perturbed import perturbed


class ApflParams(Params):
    """Parameters of APFL.

    ``mix`` is the share a of the private model that every component starts with, ``mix_rate`` its rate (share per unit of loss; 0
    keeps it). With ``compute: equal`` a single local step goes to the common model; the private one needs a second.
    """

    compute: Compute = "equal"
    mix: Fraction = 0.5
    mix_rate: NonNegative = 1.0


class Apfl(Algorithm):
    """A private model mixed into the common one."""

    name = "apfl"
    summary = "private and common model mixed, the mixture learned per component"
    source = "Deng et al. 2020, arXiv 2003.13461"
    Params = ApflParams
    deployed = "personal"
    params: ApflParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train w, then v mixed with w as it was at each step, and the mixture; send w."""
        common_steps, private_steps = split(client.scenario.local_steps, self.params.compute)
        trail: list[ComponentState] = []
        common = client.train(received, common_steps, "federated", gradient=_noted_in(trail))
        mixed = _Mixed(trail, self._mix(received, state), self.params.mix_rate)
        private = client.train(state.models.get("private", received), private_steps, "federated", gradient=mixed)
        update = Update(common.state, client.counts(), common.losses, private.losses)
        return update, ClientState({"private": private.state}, {"mix": {str(key): a for key, a in mixed.mix.items()}})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Mix v with the finished w, and finish the mixture."""
        mix = self._mix(received, state)
        private = state.models.get("private", received)
        done = client.finetune(towards(received, private, mix), client.scenario.training.finetune_steps, "finish")
        return ClientState({"personal": done.state}, {**state.facts, "finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and, once there is one, the personal model; v alone is trained for no use of its own."""
        finished = {name: model for name, model in state.models.items() if name == "personal"}
        return {"federated": received, **finished}

    def _mix(self, received: ComponentState, state: ClientState) -> dict[ComponentKey, float]:
        known = state.facts.get("mix", {})
        return {key: float(known.get(str(key), self.params.mix)) for key in received}


def _noted_in(trail: list[ComponentState]) -> GradientRule:
    """Return the plain rule, which notes the model before each step; w and v can then take turns by step, one after the other."""

    def rule(network: Network, batch: Batch, objective: Objective) -> None:
        trail.append(network.state())
        plain_gradient(network, batch, objective)

    return rule


class _Mixed:
    """The gradient of the mixture with respect to v, which is in the network; it learns ``mix`` on the way."""

    def __init__(self, trail: Iterable[ComponentState], mix: Mapping[ComponentKey, float], rate: float) -> None:
        self.mix = dict(mix)
        self._trail = iter(trail)
        self._rate = rate

    def __call__(self, network: Network, batch: Batch, objective: Objective) -> None:
        """Leave a times the gradient at the mixture, then move each a; both gradients are taken at the mixture as it was."""
        common = next(self._trail)
        with perturbed(network, partial(self._mixture, common)):
            plain_gradient(network, batch, objective)
        slopes = dict.fromkeys(self.mix, 0.0)
        for key, name, parameter in network.named():
            if parameter.grad is not None:
                away = parameter.detach() - common[key][name].to(parameter.device)
                slopes[key] += float((away * parameter.grad).sum())
                parameter.grad.mul_(self.mix[key])
        for key, slope in slopes.items():
            self.mix[key] = min(1.0, max(0.0, self.mix[key] - self._rate * slope))

    def _mixture(self, common: ComponentState, key: ComponentKey, name: str, parameter: Tensor) -> Tensor:
        return torch.lerp(common[key][name].to(parameter.device), parameter, self.mix[key])
