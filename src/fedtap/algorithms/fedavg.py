r"""FedAvg: average everything. McMahan et al. 2017, arXiv 1602.05629.

.. math:: w_c \leftarrow \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}

over the sampled holders i of component c, after E local steps each.

Differences from the paper: averaging is per component, over the clients that hold it; the local optimizer is AdamW; steps,
not epochs, are counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.algorithms.base import Algorithm, ClientState, Update
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient


class FedAvg(Algorithm):
    """One model for all: each client uses its slice of the server's."""

    name = "fedavg"
    summary = "average everything"
    source = "McMahan et al. 2017, arXiv 1602.05629"
    deployed = "federated"

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the received slice for E steps and send it back."""
        trained = client.train(received, client.scenario.local_steps, "federated")
        return Update(trained.state, client.counts(), trained.losses), state

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice."""
        return {"federated": received}
