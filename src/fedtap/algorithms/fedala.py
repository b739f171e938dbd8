r"""FedALA: adaptive local aggregation. Zhang, Hua, Wang, Song, Xue, Ma, Guan 2023, AAAI, arXiv 2212.01197.

Before it trains, client i builds its start element by element from its last local model :math:`w_i` and the received one w:

.. math::
    \hat w_i = w_i + (w - w_i) \odot [1; W_i], \qquad
    W_i \leftarrow \mathrm{clip}_{[0, 1]} (W_i - \eta_W \nabla_{W_i} f_i(\hat w_i)), \qquad
    \nabla_{W_i} f_i(\hat w_i) = \nabla f_i(\hat w_i) \odot (w - w_i)

Lower components are overwritten by the received ones; on the upper ones :math:`W_i` (from ones, kept from round to round) is
learned with both models frozen. Then :math:`w_i \leftarrow \hat w_i` is trained, sent and averaged.

What is upper here: the heads and the second fusion stack, MoME (its attention and its experts), the half of the network that
is nearest to the output; encoders, the shared projection, MoTE and the domain experts (which serve both stacks) are lower.
``upper: heads`` is the heads alone, ``all`` everything.

Differences from the paper: learning W costs ``weight_steps`` of the E steps of every method each round, and of the fine-tuning at
the end, where the start is built once more; the paper learns W over many passes at first and over one in later rounds, at no
account. There is nothing to learn at a client's first participation, when it has no model of its own. AdamW moves the
scalars of the two models apart by thousandths, so that a plain step of rate 1, the paper's, would hardly move W; a step here
goes along the same gradient, brought to root mean square ``weight_rate`` over all of W. A step of Adam, as the models take,
would drive all elements alike, those with nothing to gain too. Batches stand for the paper's random share of the data. What
is deployed is the start built from the finished slice, after the low-rate fine-tuning of every personalising method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from fedtap.algorithms.base import Algorithm, ClientState, Params, Update
from fedtap.batch import Batch
from fedtap.components import ComponentKey, ComponentState
from fedtap.scenario.settings import Count, NonNegative
from fedtap.training.client import LocalClient


class FedAlaParams(Params):
    """Parameters of FedALA.

    ``upper`` says on which components W is learned, ``weight_steps`` how many local steps that takes (at most those that there
    are, less one), ``weight_rate`` the root mean square of a step's change of W (shares of the way to the received model).
    """

    upper: Literal["heads", "mome", "all"] = "mome"
    weight_steps: Count = 2
    weight_rate: NonNegative = 1.0


class FedAla(Algorithm):
    """A start between the own and the common model, element by element."""

    name = "fedala"
    summary = "start between own and received model, learned per element; average everything"
    source = "Zhang et al. 2023, arXiv 2212.01197"
    Params = FedAlaParams
    deployed = "personal"
    params: FedAlaParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Build the start, train it, send it and keep it, with W."""
        steps = client.scenario.local_steps
        batches = client.batches(steps, "federated")
        start, weights = self._start(client, received, state, islice(batches, self._spent(state, steps)))
        trained = client.train(start, steps - self._spent(state, steps), batches)
        kept = {"local": trained.state, **({} if weights is None else {"weights": weights})}
        return Update(trained.state, client.counts(), trained.losses), ClientState(kept)

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Build the start from the finished slice, and finish it."""
        steps = client.scenario.training.finetune_steps
        spent = self._spent(state, steps)
        start, _ = self._start(client, received, state, client.batches(spent, "weights"))
        done = client.finetune(start, steps - spent, "finish")
        return ClientState({"personal": done.state}, {"finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and, once there is one, the personal model."""
        finished = {name: model for name, model in state.models.items() if name == "personal"}
        return {"federated": received, **finished}

    def _spent(self, state: ClientState, steps: int) -> int:
        """Return how many of the steps go to W: none while there is no local model to mix."""
        return min(self.params.weight_steps, max(0, steps - 1)) if "local" in state.models else 0

    def _start(
        self, client: LocalClient, received: ComponentState, state: ClientState, batches: Iterable[Batch]
    ) -> tuple[ComponentState, ComponentState | None]:
        """Return the start, with W learned on one batch a step, and W; the received model and None without a local one."""
        if "local" not in state.models:
            return received, None
        upper = [key for key in received if self._is_upper(key)]
        own, common = state.models["local"].slice(upper), received.slice(upper)
        weights = state.models["weights"] if "weights" in state.models else common.map(torch.ones_like)
        for batch in batches:
            gradient = client.gradient(received.merge(_between(own, common, weights)), batch).slice(upper)
            slope = gradient.zip(torch.mul, common.zip(torch.sub, own))
            weights = _descend(weights, slope, self.params.weight_rate)
        return received.merge(_between(own, common, weights)), weights

    def _is_upper(self, key: ComponentKey) -> bool:
        if self.params.upper == "all" or key.kind in ("head", "probe"):
            return True
        return self.params.upper == "mome" and key.names[:1] == ("mome",)


def _between(own: ComponentState, common: ComponentState, weights: ComponentState) -> ComponentState:
    """Return own + (common - own) * weights; where a weight is 0 or 1 the one or the other, to the bit."""
    values: dict[ComponentKey, dict[str, Tensor]] = {}
    for key, name, mine in own.tensors():
        values.setdefault(key, {})[name] = torch.lerp(mine, common[key][name], weights[key][name])
    return ComponentState(values)


def _descend(weights: ComponentState, slope: ComponentState, length: float) -> ComponentState:
    """Return the weights after a step down the slope whose root mean square is ``length``, cut to 0 .. 1."""
    squares = sum(float(tensor.double().square().sum()) for _, _, tensor in slope.tensors())
    if squares == 0:
        return weights  # the two models agree, or the batch does not reach where they differ
    rate = length / math.sqrt(squares / slope.parameters)
    return weights.zip(lambda weight, down: (weight - rate * down).clamp(0, 1), slope)
