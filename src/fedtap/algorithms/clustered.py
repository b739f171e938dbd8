r"""Clustered: a model for each cluster of clients whose updates agree. After FedLEASE, Wang et al. 2025, arXiv 2509.15087.

After some rounds of :mod:`fedavg` the server knows in which direction each client pulls, :math:`d_i = w_i - w` in its last round,
and clusters clients by :math:`1 - \cos(d_i, d_j)` (:mod:`fedtap.aggregation.clusters`: average linkage, as many clusters as the
silhouette says). From then on each cluster k has a model of its own,

.. math:: w_c^k \leftarrow \sum_{i \in k} n_{i,c} w_{i,c} / \sum_{i \in k} n_{i,c}

and in the end each client fine-tunes its cluster's, as in :mod:`fedavg_ft`. Directions are compared by the second factors (B) of
the fusion's adapters, as in the paper, and by all that both clients hold where the fusion has none (as Sattler, Mueller, Samek
2019, arXiv 1910.01991, compare updates).

Differences from the paper: only its allocation of experts. Its router, by which a client uses the experts of other clusters too,
would need them all at each client, and their number is known in the run alone, where the shapes of components follow from the
scenario. Nor is this IFCA (Ghosh et al. 2020, arXiv 2006.04088), whose clients choose among all clusters' models and so must be
sent all. There all clients are heard of in one first round; here those that come later join, after their first round, the
cluster that is nearest on average. A client that never took part is sent the mean over all clusters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from fedtap.aggregation.clusters import clusters, distance
from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning, FedAvgFineTuningParams
from fedtap.components import ComponentKey, ComponentState


class ClusteredParams(FedAvgFineTuningParams):
    """Parameters of clustering: ``together`` is the number of rounds before clusters are made, ``most`` how many there may be."""

    together: int = Field(default=3, ge=1)
    most: int = Field(default=4, ge=1, le=1000)


class Clustered(FedAvgFineTuning):
    """FedAvg, then a FedAvg in each cluster of clients, then local fine-tuning."""

    name = "clustered"
    summary = "a model for each cluster of clients whose updates agree, then local fine-tuning"
    source = "allocation of Wang et al. 2025, arXiv 2509.15087"
    Params = ClusteredParams
    params: ClusteredParams

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Average over all; make clusters when it is time, and average within each."""
        rounds = int(server.facts.get("rounds", 0)) + 1
        of: dict[str, int] = dict(server.facts.get("clusters", {}))
        held: dict[str, list[str]] = dict(server.facts.get("held", {}))
        pulls = {name: state for name, state in server.kept.items() if not _is_cluster(name)}
        models = {name: state for name, state in server.kept.items() if _is_cluster(name)}
        for client, update in updates.items():
            held[client] = [str(key) for key in update.components]
            if client not in of:
                sent = server.slice_for(client, frozenset(update.components))
                pulls[client] = _compared(update.components.zip(lambda now, before: now - before, sent))
        components = server.components.merge(self.mean(updates))
        if rounds == self.params.together:
            of = self._clusters(pulls)
            models = {_cluster(number): components for number in set(of.values())}
        elif of:
            for client in sorted(updates.keys() - of.keys()):
                of[client] = _nearest(client, pulls, of)
        tailored = dict(server.tailored)
        for number in sorted(set(of.values())):
            members = {client: update for client, update in updates.items() if of[client] == number}
            models[_cluster(number)] = model = models[_cluster(number)].merge(self.mean(members))
            for client in (client for client, its in of.items() if its == number):
                tailored[client] = model.slice(map(ComponentKey.parse, held[client]))
        return ServerState(components, tailored, {**pulls, **models}, {"rounds": rounds, "clusters": of, "held": held})

    def _clusters(self, pulls: Mapping[str, ComponentState]) -> dict[str, int]:
        clients = sorted(pulls)
        apart = np.array([[distance(pulls[a], pulls[b]) if a != b else 0.0 for b in clients] for a in clients])
        return dict(zip(clients, clusters(apart, self.params.most), strict=True))


def _nearest(client: str, pulls: Mapping[str, ComponentState], of: Mapping[str, int]) -> int:
    """Return the cluster whose members' updates point most as this client's does."""
    apart: dict[int, list[float]] = {}
    for other, number in sorted(of.items()):
        apart.setdefault(number, []).append(distance(pulls[client], pulls[other]))
    return min(sorted(apart), key=lambda number: sum(apart[number]) / len(apart[number]))


def _compared(update: ComponentState) -> ComponentState:
    """Return what of an update is compared: the second factors of the fusion's adapters, or all where it has none."""
    return update.select(_is_second) or update


def _is_second(key: ComponentKey, name: str) -> bool:
    return key.kind in ("attention", "expert") and name.endswith("_B")


def _cluster(number: int) -> str:
    return f"cluster {number}"  # no client's id has a space


def _is_cluster(name: str) -> bool:
    return " " in name
