r"""FedAvg in which clients are averaged with those alone that hold the same components. A control, not a rival.

For a group g of clients with the same components S_g, each of these has a copy that is the group's own:

.. math:: w_c^g \leftarrow \sum_{i \in g} n_{i,c} w_{i,c} / \sum_{i \in g} n_{i,c}

In all else it is ``fedavg_ft``. Clients of one pair each are so K federations, one a pair, under one lottery of clients; what
``fedavg_ft`` does otherwise is what sharing brings, or costs (``fedtap study pairs``, docs/theory.md). It is known by its name,
and ``--methods all`` leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fedtap.algorithms.base import ServerState, Update, holders_of
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning


class FedAvgGrouped(FedAvgFineTuning):
    """A model for each set of components, averaged over the clients that hold exactly these."""

    name = "fedavg_grouped"
    summary = "fedavg_ft among clients with the same components alone (a control)"
    source = "control of `fedtap study pairs`"

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Average within each group; what the federated model is of no client, and stays as it was."""
        groups: dict[str, list[Update]] = {}
        for update in updates.values():
            groups.setdefault(holders_of(update.counts), []).append(update)
        tailored = dict(server.tailored)
        for group, mine in sorted(groups.items()):
            mean = self.mean_of([(update.components, update.counts) for update in mine])
            before = tailored.get(group)
            tailored[group] = mean if before is None else before.merge(mean)
        return replace(server, tailored=tailored)
