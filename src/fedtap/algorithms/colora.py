r"""Co-LoRA and relevance-weighted aggregation (FedMosaic). Seo, Kim, Lee, Choi, Tuytelaars 2025, arXiv 2506.11024.

A low-rank adapter is :math:`x \mapsto (x A P + Q) B` with A and B orthogonal, frozen and common to all; only P, of rank x rank,
and Q are trained and sent (:class:`fedtap.network.blocks.InnerFactors`). The client trains a local model :math:`v_i` through its
mix with the frozen model :math:`w_i` that the server made for it, and sends :math:`v_i`:

.. math::
    v_i \leftarrow \mathrm{AdamW}^E \big( f_i((1 - \sigma(b_i)) v_i + \sigma(b_i) w_i), v_i \big), \quad
    w_i = \sum_j w_{ij} v_j

with b a learned gate and :math:`w_{ij}` the softmax over :math:`\cos(s_i, s_j) / \tau` of noisy sketches of the clients'
gradients on shared frozen ground (``relevance.py``).

Differences from the paper: with ``network.adaptation: lora`` the method brings its own (``colora``); with ``full`` there are
no factors, and what is said of P and Q holds for all components, whose mix is then one of weights (of P and Q the mix of
weights IS the paper's mix of outputs). Encoders, heads, the shared projection and domain experts, which the paper's models
do not have, are trained and sent whole. All clients have one architecture, so A and B need no alignment between different
ones. There is a gate for each component, moved by plain gradient steps. The shared ground is the common start shifted by
common noise, not a small language model, and the gradient is that of all components but heads, not of one last layer. A
client takes a sketch in its first ``sketch_rounds`` participations and not in all, since its data do not drift; each costs
one of its local steps, and with a single step there is none (an unknown client is equally relevant to all). The server
remembers every client's last model, so that those not sampled take part in the mean; where few hold a component the weights
are over its holders. A client that comes late starts its local model from what it is sent, one without any model of its own
from the mean over all. What is deployed is the mix as ONE model, after the low-rate fine-tuning of every personalising method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fedtap.aggregation.relevance import ground, relevance, sanitise, sketch
from fedtap.algorithms.base import Algorithm, ClientState, Params, ServerState, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.personalization.gated_mix import GatedMix, blend
from fedtap.training.client import LocalClient

_SKETCH = "relevance"


class CoLoraParams(Params):
    """Parameters of Co-LoRA with relevance-weighted aggregation.

    ``temperature`` (tau) is that of the softmax over cosines: small values listen to the most alike alone. ``sketch_size`` is the
    number of scalars of a sketch, ``sketch_rounds`` the number of participations in which a client takes one, ``noise`` the
    length of the noise on it relative to its own. ``gate_rate`` is the step of the gates' logits.
    """

    temperature: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    sketch_size: int = Field(default=512, ge=1, le=100_000)
    sketch_rounds: int = Field(default=3, ge=0)
    noise: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    gate_rate: float = Field(default=1.0, ge=0, allow_inf_nan=False)


class CoLora(Algorithm):
    """A local model beside one that the server mixes for the client from those of relevant others."""

    name = "colora"
    summary = "small shared factors; each client gets a mean weighted by the relevance of the others' gradients"
    source = "Seo et al. 2025, arXiv 2506.11024"
    Params = CoLoraParams
    adaptations: ClassVar[Mapping[str, str]] = {"lora": "colora"}
    deployed = "personal"
    params: CoLoraParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Take a sketch if one is due, train the local model through the mix, send both."""
        steps, facts = client.scenario.local_steps, dict(state.facts)
        vectors: dict[str, Tensor] = {}
        if steps > 1 and facts.get("sketches", 0) < self.params.sketch_rounds:
            steps -= 1
            vectors[_SKETCH] = self._sketch(client, facts)
        mix = GatedMix(received, _gates(facts), self.params.gate_rate)
        trained = client.train(state.models.get("local", received), steps, "federated", gradient=mix)
        facts["gates"] = {str(key): logit for key, logit in mix.logits.items()}
        update = Update(trained.state, client.counts(), trained.losses, vectors=vectors)
        return update, ClientState({"local": trained.state}, facts)

    def _sketch(self, client: LocalClient, facts: dict[str, Any]) -> Tensor:
        """Return the mean of this sketch and the earlier ones, with noise; ``facts`` are brought up to date."""
        (batch,) = client.batches(1, "relevance")
        gradient = client.gradient(ground(client.initial_state(), client.seed), batch)
        fresh, taken = sketch(gradient, self.params.sketch_size, client.seed), int(facts.get("sketches", 0))
        mean = (fresh + taken * torch.tensor(facts.get("sketch", [0.0] * len(fresh)))) / (taken + 1)
        facts |= {"sketch": mean.tolist(), "sketches": taken + 1}
        return sanitise(mean, self.params.noise, client.generator("noise"))

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Remember what was sent, and mix a model for each client from those of all that hold its components."""
        kept = {**server.kept, **{client: update.components for client, update in updates.items()}}
        sketches = dict(server.facts.get("sketches", {}))
        for client, update in updates.items():
            vector = update.vectors.get(_SKETCH)
            if vector is not None and len(vector) == self.params.sketch_size:
                sketches[client] = vector.tolist()
        clients, nothing = sorted(kept), [0.0] * self.params.sketch_size
        known = {client: torch.tensor(sketches.get(client, nothing)) for client in clients}
        tailored = mixtures({client: kept[client] for client in clients}, relevance(known, self.params.temperature))
        everyone = [(kept[client], dict.fromkeys(kept[client], 1)) for client in clients]
        components = server.components.merge(self.mean_of(everyone))
        return ServerState(components, tailored, kept, {"sketches": sketches})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Finish the mix of the local model and the last that the server made."""
        mixed = blend(state.models.get("local", received), received, _gates(state.facts))
        done = client.finetune(mixed, client.scenario.training.finetune_steps, "finish")
        return ClientState({"personal": done.state}, {**state.facts, "finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return what the server made and, once there is one, the personal model; the local half is none to use."""
        return {"federated": received, **{name: model for name, model in state.models.items() if name == "personal"}}


def mixtures(models: Mapping[str, ComponentState], weights: Tensor) -> dict[str, ComponentState]:
    """Return for each client the weighted mean of all models in the components that it holds.

    ``weights`` is ``(n, n)``, a row for each client in the order of ``models``; for each component a row is scaled to sum to one
    over those who hold it.
    """
    clients = list(models)
    mixed: dict[str, dict[ComponentKey, dict[str, Tensor]]] = {client: {} for client in clients}
    for key in sorted(frozenset().union(*models.values())):
        rows = [i for i, client in enumerate(clients) if key in models[client]]
        own = weights[rows][:, rows].double()
        own = own / own.sum(dim=1, keepdim=True)
        for name, like in models[clients[rows[0]]][key].items():
            stacked = torch.stack([models[clients[i]][key][name].flatten() for i in rows]).double()
            for i, row in zip(rows, own @ stacked, strict=True):
                mixed[clients[i]].setdefault(key, {})[name] = row.reshape(like.shape).to(like.dtype)
    return {client: ComponentState(values) for client, values in mixed.items()}


def _gates(facts: Mapping[str, Any]) -> dict[ComponentKey, float]:
    return {ComponentKey.parse(key): float(logit) for key, logit in facts.get("gates", {}).items()}
