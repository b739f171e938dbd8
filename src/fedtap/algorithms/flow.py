r"""Flow: each input goes through local or global blocks, as a router says. Panchal et al. 2022, arXiv 2211.15281.

A round at a client that has received global blocks :math:`w_g` and the router :math:`\psi`:

.. math::
    w_l = \mathrm{AdamW}^{E_l}(f_i, w_g), \qquad
    (w_g, \psi) \leftarrow \mathrm{AdamW}^{E - E_l}\big(f_i(\psi(x) w_l + (1 - \psi(x)) w_g)\big)

of which :math:`w_g` and :math:`\psi` are sent and averaged. Nothing is kept from one round to the next: the local blocks are made
anew. The model that is deployed is the mixture, from the finished :math:`w_g` and :math:`\psi`.

Differences from the paper: its idea, as far as it fits. A block's alternatives are two adapters of the same frozen layers
(:mod:`dual`), not two copies of a layer. The router weighs them by a number in (0, 1), in training and afterwards; the paper's
takes the likelier of the two at the test. It sees an example as it enters the fusion, not the input of each layer, once for each
component and layer. :math:`w_g` and :math:`\psi` are trained together, not in turns, and the paper's term for few local blocks is
left out. Two draws of the data stand for its two halves. At equal compute the local steps are split between the two (of an odd
number one more to what is sent). After the last round the fine-tuning steps of every method make the local blocks, then the
mixture with all but :math:`w_g`. A client that never took part is served as all are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedtap.algorithms.base import ClientState, Params, Update
from fedtap.algorithms.compute import Compute, split
from fedtap.algorithms.dual import Dual, as_own, is_gate, is_own, is_shared
from fedtap.components import ComponentKey, ComponentState
from fedtap.training.client import LocalClient

_OPEN = 40.0
"""A gate's logit at which the sigmoid is 1 to the last bit of a float32."""


class FlowParams(Params):
    """Parameters of Flow: ``compute`` says whether both kinds of block share the steps of one model. A single step is global."""

    compute: Compute = "equal"


class Flow(Dual):
    """Local blocks made anew from the global ones, and a common router between the two."""

    name = "flow"
    summary = "local adapters made anew from the global ones; an averaged router weighs both for each input"
    source = "Panchal et al. 2022, arXiv 2211.15281"
    beside = ("federated",)
    Params = FlowParams
    params: FlowParams

    def travels(self, key: ComponentKey, name: str) -> bool:
        """All but the local blocks travels, the router too."""
        return not is_own(key, name)

    def start(self, client: LocalClient) -> ClientState:
        """Keep nothing."""
        return ClientState()

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Make local blocks, then train the global ones and the router beside them; send the latter."""
        global_steps, local_steps = split(client.scenario.local_steps, self.params.compute)
        alike = _alike(received)
        local = client.train(_opened(alike), local_steps, "local", only=is_own)
        mixed = alike.overlay(local.state.select(is_own))
        trained = client.train(mixed, global_steps, "federated", only=self.travels)
        return Update(trained.state.select(self.travels), client.counts(), trained.losses, local.losses), state

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Make local blocks once more, then finish the mixture but for the global ones."""
        mixture_steps, local_steps = split(client.scenario.training.finetune_steps, self.params.compute)
        alike = _alike(received)
        local = client.finetune(_opened(alike), local_steps, "local", only=is_own)
        mixed = alike.overlay(local.state.select(is_own))
        done = client.finetune(mixed, mixture_steps, "finish", only=lambda key, name: not is_shared(key, name))
        return ClientState({"personal": done.state}, {"finetune_steps_kept": local.kept_steps + done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the global model, in which both alternatives are the global one, and the personal model once there is one."""
        return {"federated": _alike(received), **state.models}


def _alike(received: ComponentState) -> ComponentState:
    """Return the whole model in which local blocks are the global ones."""
    return received.overlay(as_own(received))


def _opened(state: ComponentState) -> ComponentState:
    """Return the model in which every input goes through the local blocks alone."""
    gates = state.select(is_gate)
    opened = {
        key: {name: torch.full_like(t, _OPEN) if name == "gate_b" else torch.zeros_like(t) for name, t in named.items()}
        for key, named in gates.items()
    }
    return state.overlay(ComponentState(opened))
