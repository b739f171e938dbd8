r"""FedDAT: a dual-adapter teacher and mutual distillation. Chen, Zhang, Krompass, Gu, Tresp 2024, arXiv 2308.12305.

Client i keeps a local adapter :math:`v_i`, which never leaves; beside it stands the received shared adapter :math:`\hat w`,
frozen. The two together are the teacher; the shared adapter w in training and the teacher learn from each other:

.. math::
    z_T = \tfrac12 (z(v_i) + z(\hat w)), \quad
    w \leftarrow w - \eta \nabla_w [L(z(w)) + \alpha D(z_T, z(w))], \quad
    v_i \leftarrow v_i - \eta \nabla_{v_i} [L(z_T) + \beta D(z(w), z_T)]

with :math:`D(z, z') = \tau^2 KL(\mathrm{softmax}(z / \tau) \| \mathrm{softmax}(z' / \tau))`, no gradient to its first argument;
for pictures the squared error. Only w is sent and averaged.

Differences from the paper: an adapter is a model's whole set of trainable components, so the two adapters of the teacher meet at
its outputs, not within every layer: logits (of classes and of tokens) and pictures are averaged. At equal compute the local steps
are split between w and v (``compute: paper`` gives each all of them). They take turns by round, not by step: w learns from the
teacher as the last round left it, then the teacher from w as it is now, on the same batches. A client's first v is the slice that
it receives then. What is deployed is ONE model of the usual size, where the paper's dual adapters stay two: the finished slice
takes the low-rate fine-tuning of every personalising method with the client's final teacher as its teacher. The local optimizer
and the averaging per component are the harness's.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from fedtap.algorithms.base import Algorithm, ClientState, Params, Update
from fedtap.algorithms.compute import Compute, split
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from fedtap.training.terms import Teacher


class FedDatParams(Params):
    """Parameters of FedDAT.

    ``teach`` (alpha) weighs what the shared model learns from the teacher, in the rounds and in fine-tuning, ``learn`` (beta)
    what the teacher learns from the shared model; both are factors of nats, or of MSE. ``temperature`` is tau. With
    ``compute: equal`` a single local step goes to the shared model; the local one needs a second.
    """

    compute: Compute = "equal"
    teach: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    learn: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class FedDat(Algorithm):
    """A shared model and a teacher of a local and the received one, which distil into each other."""

    name = "feddat"
    summary = "dual teacher of a local and the shared model, mutual distillation; average the shared one"
    source = "Chen et al. 2024, arXiv 2308.12305"
    Params = FedDatParams
    deployed = "personal"
    params: FedDatParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the shared model under the teacher, then the teacher's local half beside the received one; send the shared."""
        shared_steps, local_steps = split(client.scenario.local_steps, self.params.compute)
        local = state.models.get("local", received)
        shared = client.train(
            received, shared_steps, "federated", terms=[self._dual_teacher(client, local, received, self.params.teach)]
        )
        back = Teacher(shared.state, dict.fromkeys(client.tasks, self.params.learn), self.params.temperature)
        dual = client.train(local, local_steps, "federated", terms=[back], ensemble_with=[received])
        update = Update(shared.state, client.counts(), shared.losses, dual.losses)
        return update, ClientState({"local": dual.state})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Finish the slice under the teacher of the local model and the slice itself."""
        local = state.models.get("local", received)
        teacher = self._dual_teacher(client, local, received, self.params.teach)
        done = client.finetune(received, client.scenario.training.finetune_steps, "finish", terms=[teacher])
        return ClientState({"personal": done.state}, {"finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and, once there is one, the personal model; half a teacher is no model to use."""
        finished = {name: model for name, model in state.models.items() if name == "personal"}
        return {"federated": received, **finished}

    def _dual_teacher(
        self, client: LocalClient, local: ComponentState, received: ComponentState, weight: float
    ) -> Teacher:
        weights = dict.fromkeys(client.tasks, weight)
        return Teacher(local, weights, self.params.temperature, ensemble_with=[received])
