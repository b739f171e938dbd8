r"""DisentAFL: modality-task latents kept apart. Chen & Zhang 2024, AAAI 38(10), 10.1609/aaai.v38i10.29010.

"On Disentanglement of Asymmetrical Knowledge Transfer for Modality-Task Agnostic Federated Learning". What a client learns
comes in four kinds (shared by all, of a task, of a modality and a task, of a modality), each on a path of its own and shared with
just those clients that have the same; a term keeps the latents of different modality-task pairs apart:

.. math:: \min_w \; f_i(w) + \gamma \, \overline{\cos^2(z_a, z_b)}

with :math:`z` an example's pooled latent on its modality-task path, the mean over all examples a, b of a batch whose modality or
task family differs, and :math:`\gamma` = 0.5. Components are averaged over their holders, which for each kind of knowledge are
the clients that have it.

Differences from the paper: the four paths are those of the network of experts, where modality and task family of an example say
which components it passes; the paper's own encoders and gates, and what it trains them with, are not rebuilt here. Data sets of
one modality and family run through the same experts and are not kept apart. A client whose pairs all have the same modality and
family has nothing to keep apart: it does what FedAvg does. Optimizer, steps and averaging are the harness's.
"""

from __future__ import annotations

from pydantic import Field

from fedtap.algorithms.base import ClientState, Params, Update
from fedtap.algorithms.fedavg import FedAvg
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from fedtap.training.terms import Disentangle


class DisentAflParams(Params):
    """Parameters of DisentAFL.

    ``disentangle`` is gamma, the weight of the mean squared cosine (which lies in [0, 1]) in the training loss (nats, or MSE).
    """

    disentangle: float = Field(default=0.5, ge=0, allow_inf_nan=False)


class DisentAfl(FedAvg):
    """FedAvg on the network of experts, with latents of different modality-task pairs kept apart."""

    name = "disentafl"
    summary = "fedavg with latents of different modality-task pairs kept apart"
    source = "Chen & Zhang 2024, 10.1609/aaai.v38i10.29010"
    Params = DisentAflParams
    architectures = ("experts",)
    params: DisentAflParams

    @property
    def compares_examples(self) -> str:
        """The term that keeps latents apart does."""
        return "disentangle" if self.params.disentangle else ""

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the received slice for E steps with the term, and send it back."""
        terms = [Disentangle(self.params.disentangle)] if self.params.disentangle else []
        trained = client.train(received, client.scenario.local_steps, "federated", terms=terms)
        return Update(trained.state, client.counts(), trained.losses), state
