r"""FedAvgM: FedAvg with momentum at the server. Hsu, Qi, Brown 2019, arXiv 1909.06335.

With :math:`\bar w_c` FedAvg's mean of component c over the sampled holders, and :math:`v_c = 0` at first,

.. math::
    v_c \leftarrow \beta v_c + (w_c - \bar w_c), \quad w_c \leftarrow w_c - \eta v_c

Differences from the paper: momentum is kept per component, and rests in a round in which nobody trained that component; the local
optimizer is the harness's. As every personalising method here it ends with the low-rate fine-tuning at each client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning, FedAvgFineTuningParams

VELOCITY = "velocity"


class FedAvgMParams(FedAvgFineTuningParams):
    """Parameters of FedAvgM.

    ``momentum`` is beta, the share of the last step that is taken again; 0 is FedAvg. ``server_lr`` is eta, the length of a step
    of the server in steps of FedAvg.
    """

    momentum: float = Field(default=0.5, ge=0, lt=1)
    server_lr: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class FedAvgM(FedAvgFineTuning):
    """FedAvg whose server goes on in the direction that it came."""

    name = "fedavgm"
    summary = "fedavg with momentum at the server, then local fine-tuning"
    source = "Hsu et al. 2019, arXiv 1909.06335"
    Params = FedAvgMParams
    params: FedAvgMParams

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Step from the model that was sent towards the mean of what came back, and remember the step."""
        mean = self.mean(updates)
        current = server.components.slice(mean)
        step = current.zip(lambda w, w_bar: w - w_bar, mean)
        before = server.kept.get(VELOCITY, server.components.map(lambda w: 0 * w))
        velocity = before.slice(mean).zip(lambda v, d: self.params.momentum * v + d, step)
        moved = current.zip(lambda w, v: w - self.params.server_lr * v, velocity)
        return replace(
            server,
            components=server.components.merge(moved),
            kept={**server.kept, VELOCITY: before.merge(velocity)},
        )
