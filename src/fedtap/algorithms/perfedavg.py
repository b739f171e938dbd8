r"""Per-FedAvg: an initialisation that one step personalises. Fallah, Mokhtari, Ozdaglar 2020, NeurIPS, arXiv 2002.07948.

The federated model minimises :math:`\overline{f_i(w - \alpha \nabla f_i(w))}`, the clients' losses after a gradient step of
their own. A local step, in the first-order form (FO), takes two batches D and D':

.. math::
    g = \nabla f_i(w - \alpha \nabla f_i(w; D); D'), \qquad w \leftarrow w - \eta g

The models are averaged as in FedAvg; a client personalises by training from the average.

Differences from the paper: the factor :math:`I - \alpha \nabla^2 f_i(w)` of the exact gradient is left out (the paper's FO
variant; its other variant estimates it by two more gradients a step). A step of two gradients costs two of the E steps of
every method, so a client takes E / 2 of them; an odd step left over is a plain one. The step along g is AdamW's, the
look-ahead a plain gradient step: a look-ahead by a fresh AdamW would move every scalar by the same length whatever its
gradient, which is no small step of descent. Its gradient is clipped as every gradient here is, so it moves the model by
``inner_rate`` times ``training.clip`` at the most. The paper personalises by one step of rate alpha; here it is the low-rate
fine-tuning of every personalising method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fedtap.algorithms.base import Algorithm, ClientState, Params, Update
from fedtap.batch import Batch
from fedtap.components import ComponentState
from fedtap.network.network import Network
from fedtap.scenario.settings import NonNegative
from fedtap.training.client import LocalClient
from fedtap.training.loop import GradientRule, Objective, plain_gradient
from fedtap.training.perturbed import perturbed


class PerFedAvgParams(Params):
    """Parameters of Per-FedAvg.

    ``inner_rate`` (alpha) is the rate of the look-ahead, in weights per unit of (clipped) gradient; 0 looks nowhere.
    """

    inner_rate: NonNegative = 0.1


class PerFedAvg(Algorithm):
    """A common start for everybody's fine-tuning."""

    name = "perfedavg"
    summary = "first-order MAML: steps along the gradient after a look-ahead step"
    source = "Fallah et al. 2020, arXiv 2002.07948"
    Params = PerFedAvgParams
    deployed = "finetuned"
    params: PerFedAvgParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the slice along gradients after a look-ahead; send it."""
        gradients = client.scenario.local_steps
        batches = client.batches(gradients, "federated")  # the step takes one of each two, its look-ahead the other
        ahead = _look_ahead(batches, self.params.inner_rate, client.scenario.training.clip)
        trained = client.train(received, gradients - gradients // 2, batches, gradient=ahead)
        return Update(trained.state, client.counts(), trained.losses), state

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Fine-tune the finished slice."""
        tuned = client.finetune(received, client.scenario.training.finetune_steps, "finish")
        return ClientState({"finetuned": tuned.state}, {"finetune_steps_kept": tuned.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and the fine-tuned model."""
        return {"federated": received, **state.models}


def _look_ahead(others: Iterator[Batch], rate: float, clip: float) -> GradientRule:
    """Return the rule of the gradient at :math:`w - rate * g`, with g the gradient of the next of the other batches at w."""

    def rule(network: Network, batch: Batch, objective: Objective) -> None:
        other = next(others, None)
        if other is None:
            plain_gradient(network, batch, objective)
            return
        plain_gradient(network, other, objective)
        torch.nn.utils.clip_grad_norm_(network.trainable(), clip)
        slopes = {(key, name): parameter.grad for key, name, parameter in network.named()}

        with perturbed(network, lambda key, name, parameter: _step(parameter, slopes[key, name], rate)):
            plain_gradient(network, batch, objective)

    return rule


def _step(parameter: Tensor, slope: Tensor | None, rate: float) -> Tensor:
    """Return where a step of plain descent leads; a parameter that the batch does not reach stays."""
    return parameter if slope is None else parameter - rate * slope
