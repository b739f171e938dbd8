r"""FedRep: learn the head, then the representation. Collins, Hassani, Mokhtari, Shakkottai 2021, arXiv 2102.07078.

In a round the head :math:`h_i` is trained for :math:`E_h` steps with the received body w frozen, then the body for the other
steps with that head frozen; the body is averaged:

.. math::
    h_i \leftarrow \mathrm{AdamW}^{E_h}(f_i(w, \cdot), h_i), \quad
    w_i \leftarrow \mathrm{AdamW}^{E - E_h}(f_i(\cdot, h_i), w), \quad
    w_c \leftarrow \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}

Differences from the paper: the steps of both phases together are the E of other methods (``head_share`` splits them), where the
paper takes many head epochs on top. Its body is averaged with equal weights, here weighted by examples and per component; its
optimizer is SGD, with momentum, here the harness's. Head and body see different draws of the data. After the last round the WHOLE
model takes every personalising method's low-rate fine-tuning, where the paper trains the head once more; clients that never took
part first train their heads on the finished body (:mod:`partial`), which is how the paper serves new clients.
"""

from __future__ import annotations

from pydantic import Field

from fedtap.algorithms.base import Params
from fedtap.algorithms.fedper import FedPer
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient, Trained


class FedRepParams(Params):
    """Parameters of FedRep.

    ``head_share`` is the share of a round's local steps that goes to the head, to the nearest step; each phase gets one step at
    the least, of a single local step the body. The paper favours the head, the more so the more its clients differ.
    """

    head_share: float = Field(default=0.5, gt=0, lt=1)


class FedRep(FedPer):
    """Heads at home as in FedPer; in a round first the head learns, then the body."""

    name = "fedrep"
    summary = "train the head on a frozen body, then the body; average the body"
    source = "Collins et al. 2021, arXiv 2102.07078"
    Params = FedRepParams
    params: FedRepParams

    def train(self, client: LocalClient, model: ComponentState) -> Trained:
        """Train the head, then the body; the losses are the body's, or the head's of tasks that the body's batches lack."""
        steps = client.scenario.local_steps
        head_steps = self.head_steps(steps)
        head = client.train(model, head_steps, "head", only=self.stays)
        body = client.train(head.state, steps - head_steps, "federated", only=self.travels)
        return Trained(body.state, {**head.losses, **body.losses}, steps)

    def head_steps(self, steps: int) -> int:
        """Return how many of a round's steps the head takes."""
        return min(max(1, round(self.params.head_share * steps)), steps - 1)
