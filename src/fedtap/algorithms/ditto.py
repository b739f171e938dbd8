r"""Ditto: a personal model pulled towards the federated one. Li, Hu, Beirami, Smith 2021, arXiv 2012.04221.

Each round at a sampled client i with received model w and personal model :math:`v_i`:

.. math::
    w_i \leftarrow \mathrm{AdamW}^{E_w}(f_i, w), \quad
    v_i \leftarrow v_i - \eta \left(\nabla f_i(v_i) + \lambda (v_i - w)\right) \quad E_v \text{ times}

with w as it was received, not as it is now trained. :math:`w_i` is sent and averaged, :math:`v_i` never leaves.

Differences from the paper: at equal compute the E local steps are shared between both models (``compute: paper`` gives each all
of them); the step along the gradient is the harness's AdamW. :math:`\lambda` is one number for all clients, where the paper lets
each choose its own on validation. After the last round :math:`v_i` takes every personalising method's low-rate fine-tuning, on
the same objective with w the finished model. A client that never took part (or whose share of the steps was none) finishes from
w, where the pull is zero: its :math:`v_i` at the common start would be an untrained model pulled towards a trained one for T'
steps.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from fedtap.algorithms.base import Algorithm, ClientState, Params, Update
from fedtap.algorithms.compute import Compute, split
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from fedtap.training.terms import Proximal, Term


class DittoParams(Params):
    """Parameters of Ditto.

    ``lam`` is lambda, the strength of the pull, in nats (or MSE) per squared distance of weights; 0 is training alone. The paper
    takes 1 where clients cannot choose, and lets others choose among 0.1, 1 and 2. With ``compute: equal`` a single local step
    goes to the federated model; the personal one needs a second.
    """

    compute: Compute = "equal"
    lam: float = Field(default=1.0, ge=0, allow_inf_nan=False)


class Ditto(Algorithm):
    """FedAvg, and beside it at each client a personal model that is pulled towards what it received."""

    name = "ditto"
    summary = "federated and personal model side by side, the personal one pulled towards the federated"
    source = "Li et al. 2021, arXiv 2012.04221"
    Params = DittoParams
    deployed = "personal"
    params: DittoParams

    def start(self, client: LocalClient) -> ClientState:
        """Start the personal model where the federated one starts."""
        return ClientState({"personal": client.initial_state()})

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the received slice and send it; train the personal model towards what was received and keep it."""
        federated_steps, personal_steps = split(client.scenario.local_steps, self.params.compute)
        federated = client.train(received, federated_steps, "federated")
        personal = client.train(
            state.models["personal"], personal_steps, "federated", terms=self._pull_towards(received), stays=True
        )
        update = Update(federated.state, client.counts(), federated.losses, personal.losses)
        trained = personal_steps > 0 or bool(state.facts.get("trained"))
        return update, ClientState({"personal": personal.state}, {"trained": trained})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Finish the personal model, pulled towards the finished slice; a newcomer's starts from that slice."""
        personal = state.models["personal"] if state.facts.get("trained") else received
        steps = client.scenario.training.finetune_steps
        done = client.finetune(personal, steps, "finish", terms=self._pull_towards(received))
        return ClientState({"personal": done.state}, {"trained": True, "finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and the personal model."""
        return {"federated": received, **state.models}

    def _pull_towards(self, anchor: ComponentState) -> list[Term]:
        return [Proximal(anchor, self.params.lam)] if self.params.lam else []
