r"""FedProx: FedAvg with a pull towards the received model. Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith 2020, arXiv 1812.06127.

.. math::
    w_i \leftarrow \mathrm{AdamW}^E\left(f_i(\cdot) + \tfrac{\mu}{2} \|\cdot - w\|^2,\; w\right), \quad
    w_c \leftarrow \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}

Differences from the paper: every client does the same number of local steps; clients that do less, whose partial work the paper
takes in, are not simulated. Clients are sampled evenly and averaged by examples, the paper's other way round. The local solver is
the harness's AdamW (the paper leaves it open, and uses SGD), and averaging is per component, over its holders.
"""

from __future__ import annotations

from pydantic import Field

from fedtap.algorithms.base import ClientState, Params, Update
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from fedtap.training.terms import Proximal


class FedProxParams(Params):
    """Parameters of FedProx.

    ``mu`` is the strength of the pull, in nats (or MSE) per squared distance of weights; 0 is FedAvg. The paper chooses among
    0.001, 0.01, 0.1 and 1.
    """

    mu: float = Field(default=0.01, ge=0, allow_inf_nan=False)


class FedProx(FedAvg):
    """One model for all, from which no client's training strays far."""

    name = "fedprox"
    summary = "fedavg with a pull towards the received model"
    source = "Li et al. 2020, arXiv 1812.06127"
    Params = FedProxParams
    params: FedProxParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the received slice for E steps, pulled back to where it was, and send it."""
        # Without a pull there is no term: a zero one would give tensors that a batch does not reach a gradient of zero, and
        # with it weight decay, which FedAvg spares them.
        terms = [Proximal(received, self.params.mu)] if self.params.mu else []
        trained = client.train(received, client.scenario.local_steps, "federated", terms=terms)
        return Update(trained.state, client.counts(), trained.losses), state
