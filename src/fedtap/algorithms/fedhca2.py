r"""FedHCA2: conflict-averse encoders, attentive decoders. Lu, Huang, Yang, Sirejiding, Ding, Lu 2024, arXiv 2311.13250.

The server keeps a model for each client. With :math:`\theta_i` the model that client i sends, after its own
training, and :math:`\Delta_i` how far that moved it:

.. math::
    \theta_i^{enc} \leftarrow \theta_i^{enc} + \alpha_i U, \quad
    \theta_i^{dec} \leftarrow \theta_i^{dec} + \beta_i U_i^{dec}

U is the conflict-averse mean of the encoders' updates (``conflict_averse.py``), :math:`U_i^{dec}` what the decoder's update
makes, layer by layer, of all by attention (``cross_attention.py``). The hyper weights are learned by the chain rule: since
:math:`\partial L_i / \partial \alpha_i = \langle \nabla L_i, U \rangle` and the client's next update goes against its
gradient,

.. math:: \alpha_i \leftarrow \alpha_i + \rho \cos(\Delta_i^{next}, U)

and :math:`\beta_i` of each head likewise.

Differences from the paper: "encoder" is every component but heads, and U is found for each component over those who trained
it in the round, since plans differ; "decoders" are heads. A head's layers attend to the layers of the same name and shapes
(of a head with other classes to all but what speaks of classes). With partial participation only the models of sampled
clients move, and a client's next update is that of its next participation. Who trained a component or layer alone in a round
learns from nobody, and keeps it as it is. The step of the hyper weights goes along the cosine, not the inner product, so
that its rate does not depend on the model's size; they stay within 0 and 1. A client that never took part starts from the
mean of the models of those who did. Low-rank factors are updates like all others. The last models take the low-rate fine-tuning
of every personalising method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from fedtap.aggregation.conflict_averse import conflict_averse_weights
from fedtap.aggregation.cross_attention import cross_attention
from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning, FedAvgFineTuningParams
from fedtap.components import ComponentKey, ComponentState

_ENCODER = "encoder"
Layer = tuple[ComponentKey, tuple[str, ...]]
"""A head of a client, and the names of the tensors of one of its layers."""


class FedHca2Params(FedAvgFineTuningParams):
    """Parameters of FedHCA2.

    ``c`` is the radius within which the conflict-averse mean may leave the mean update, in lengths of the latter. ``weight`` is
    what the hyper weights alpha and beta start from, a share of the aggregated update; ``hyper_rate`` (rho) is by how much one
    participation can change them.
    """

    c: float = Field(default=0.4, ge=0, lt=1)
    weight: float = Field(default=0.1, ge=0, le=1)
    hyper_rate: float = Field(default=0.05, ge=0, le=1)


class FedHca2(FedAvgFineTuning):
    """A personal model for each client, kept and mixed at the server."""

    name = "fedhca2"
    summary = "a model for each client; conflict-averse encoders, attentive heads, learned hyper weights"
    source = "Lu et al. 2024, arXiv 2311.13250"
    Params = FedHca2Params
    params: FedHca2Params

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Move the model of each client of the round by its share of what the round learned."""
        deltas = {
            client: update.components.zip(torch.sub, server.slice_for(client, frozenset(update.components)))
            for client, update in updates.items()
        }
        hyper = {client: dict(weights) for client, weights in server.facts.get("hyper", {}).items()}
        for client, delta in deltas.items():
            hyper[client] = self._learned(hyper.get(client, {}), delta, server.kept.get(client))
        tailored, kept = dict(server.tailored), dict(server.kept)
        for client, push in self._pushes(deltas).items():
            shares = hyper[client]
            moved: dict[ComponentKey, dict[str, Tensor]] = {}
            for key, name, tensor in push.tensors():
                share = shares.setdefault(_group(key), self.params.weight)
                moved.setdefault(key, {})[name] = updates[client].components[key][name] + share * tensor
            tailored[client] = updates[client].components.overlay(ComponentState(moved))
            kept[client] = push
        everyone = [(tailored[client], dict.fromkeys(tailored[client], 1)) for client in sorted(tailored)]
        components = server.components.merge(self.mean_of(everyone))
        return ServerState(components, tailored, kept, {"hyper": hyper})

    def _learned(
        self, weights: Mapping[str, float], delta: ComponentState, push: ComponentState | None
    ) -> dict[str, float]:
        """Return a client's hyper weights after it has moved by ``delta`` from where ``push`` had helped to bring it."""
        learned = dict(weights)
        products: dict[str, Tensor] = {}
        for key, name, pushed in () if push is None else push.tensors():
            if key in delta:
                a, b = pushed.double().flatten(), delta[key][name].double().flatten()
                products[_group(key)] = products.get(_group(key), 0) + torch.stack([a @ b, a @ a, b @ b])
        for group, sums in products.items():
            inner, pushed_square, moved_square = (float(each) for each in sums)
            lengths = (pushed_square * moved_square) ** 0.5
            step = self.params.hyper_rate * inner / lengths if lengths > 0 else 0.0
            learned[group] = min(1.0, max(0.0, learned.get(group, self.params.weight) + step))
        return learned

    def _pushes(self, deltas: Mapping[str, ComponentState]) -> dict[str, ComponentState]:
        """Return for each client the aggregated update of each tensor of which there is one."""
        pushes: dict[str, dict[ComponentKey, dict[str, Tensor]]] = {client: {} for client in deltas}
        for key in sorted({key for delta in deltas.values() for key in delta if key.kind != "head"}):
            holders = [client for client in sorted(deltas) if key in deltas[client]]
            if len(holders) > 1:
                rows = torch.stack([_flat(deltas[client], (key, tuple(deltas[client][key]))) for client in holders])
                weights = conflict_averse_weights((rows @ rows.T).numpy(), self.params.c)
                push = torch.from_numpy(weights) @ rows
                for client in holders:
                    pushes[client].setdefault(key, {}).update(_unflat(push, deltas[client][key]))
        for members in _alike(deltas):
            if len({client for client, _ in members}) > 1:
                seen = cross_attention(torch.stack([_flat(deltas[client], layer) for client, layer in members]))
                for (client, (key, names)), push in zip(members, seen, strict=True):
                    shapes = {name: deltas[client][key][name] for name in names}
                    pushes[client].setdefault(key, {}).update(_unflat(push, shapes))
        return {client: ComponentState(push) for client, push in pushes.items()}


def _group(key: ComponentKey) -> str:
    """Return which hyper weight a component goes by: a head has its own, all others share the encoder's."""
    return str(key) if key.kind == "head" else _ENCODER


def _alike(deltas: Mapping[str, ComponentState]) -> Sequence[Sequence[tuple[str, Layer]]]:
    """Return the layers of all clients' heads, those together that have the same name and shapes."""
    groups: dict[object, list[tuple[str, Layer]]] = {}
    for client in sorted(deltas):
        for key in (key for key in deltas[client] if key.kind == "head"):
            layers: dict[str, list[str]] = {}
            for name in deltas[client][key]:
                layers.setdefault(name.rpartition(".")[0], []).append(name)
            for names in layers.values():
                form = tuple((name, deltas[client][key][name].shape) for name in names)
                groups.setdefault(form, []).append((client, (key, tuple(names))))
    return list(groups.values())


def _flat(delta: ComponentState, layer: Layer) -> Tensor:
    key, names = layer
    return torch.cat([delta[key][name].flatten() for name in names]).double()


def _unflat(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = torch.split(flat, [tensor.numel() for tensor in like.values()])
    return {
        name: part.reshape(tensor.shape).to(tensor.dtype)
        for part, (name, tensor) in zip(parts, like.items(), strict=True)
    }
