r"""FedDPA-F: a global adapter, then a local one, mixed input by input. Yang, Long, Shen et al. 2024, arXiv 2403.19211.

In the rounds the global adapter alone is trained and averaged, as in :mod:`fedavg`. After the last one each client starts a local
adapter from it, and trains that; an input x is answered by

.. math::
    x W + \tfrac{\alpha_r}{r} \big( a(x) \, x A_l B_l + (1 - a(x)) \, x A_g B_g \big), \quad
    a(x) = \lambda \, \frac{1}{S} \sum_{s=1}^{S} \cos(h(x), h(x_s))

with :math:`x_s` training examples of the client: what is unlike its own data is left to what all have learned.

Differences from the paper: its h is the last hidden state of a language model, which would take a second pass through the
network; here h is what enters the fusion (:mod:`dual`), and :math:`x_s` are, for each component, the examples whose path uses it.
A negative a is 0. The paper trains the local adapter alone and mixes at the test; here it is trained in the mixture that is
deployed, so that the steps that are kept are chosen for it, and with it what is no adapter. The steps after the rounds are the
low-rate fine-tuning of every personalising method. A client that never took part is sent all that one needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from fedtap.algorithms.base import ClientState, Params
from fedtap.algorithms.dual import Dual, as_own, is_gate, is_shared
from fedtap.components import ComponentKey, ComponentState
from fedtap.scenario.settings import Fraction
from fedtap.training.client import LocalClient, Trained
from fedtap.training.directions import mean_directions


class FedDpaFParams(Params):
    """Parameters of FedDPA-F.

    ``scale`` is lambda, the local adapter's share for an input that is just like the client's own; ``examples`` is S, rounded up
    to whole batches.
    """

    scale: Fraction = 0.5
    examples: int = Field(default=32, ge=1, le=100_000)


class FedDpaF(Dual):
    """A local adapter after the rounds, weighed by how near an input is to the client's own data."""

    name = "feddpa_f"
    summary = "a global adapter, then a local one from it, mixed by an input's similarity to the client's data"
    source = "Yang et al. 2024, arXiv 2403.19211"
    beside = ("federated",)
    adaptations: ClassVar[Mapping[str, str]] = dict.fromkeys(("full", "lora", "colora", "dual"), "dual_near")
    Params = FedDpaFParams
    params: FedDpaFParams

    def train(self, client: LocalClient, model: ComponentState) -> Trained:
        """Take the round's E steps on what travels; the gates are shut, and own adapters out of reach."""
        return client.train(model, client.scenario.local_steps, "federated", only=self.travels)

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Start local adapters from the global ones, set the gates, and fine-tune all but the global ones."""
        start = received.overlay(state.models["home"]).overlay(as_own(received))
        centres = mean_directions(client, start, self.params.examples, "similarity")
        mixed = start.overlay(_gates(start, {key: self.params.scale * centre for key, centre in centres.items()}))
        steps = client.scenario.training.finetune_steps
        done = client.finetune(
            mixed, steps, "finish", only=lambda key, name: not (is_shared(key, name) or is_gate(key, name))
        )
        return ClientState({"personal": done.state}, {"finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the global model, in which both adapters are the global one, and the personal model once there is one."""
        (held,) = state.models.values()
        found = {"federated": received.overlay(as_own(received)).overlay(held.select(is_gate))}
        return found | {name: model for name, model in state.models.items() if name == "personal"}


def _gates(state: ComponentState, centres: Mapping[ComponentKey, torch.Tensor]) -> ComponentState:
    """Return the gates that give an input the product of its direction and the component's centre."""
    values: dict[ComponentKey, dict[str, torch.Tensor]] = {}
    for key, named in state.select(is_gate).items():
        gate_w, gate_b = named["gate_w"], named["gate_b"]
        values[key] = {"gate_w": centres[key].expand_as(gate_w).clone(), "gate_b": torch.zeros_like(gate_b)}
    return ComponentState(values)
