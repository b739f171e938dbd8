r"""Choice: local training and FedAvg with fine-tuning side by side; each task uses the better on validation. Ours: a control.

.. math::
    w_i = \mathrm{AdamW}^{E_w}(f_i, w), \quad X_i \leftarrow \mathrm{AdamW}^{E_X}(f_i, X_i), \quad
    F_i = \mathrm{AdamW}^{T'_w}(f_i, w), \; X_i \leftarrow \mathrm{AdamW}^{T'_X}(f_i, X_i) \text{ at the end}, \quad
    o \mapsto \arg\min_{m \in \{F_i, X_i\}} f^{val}_{i,o}(m)

Only :math:`w_i` is sent, and the two models never touch. TAP has the same two models and lets them learn from each other: what
it gains must be measured against this, not against either alone. A site keeps both models, and asks for each task the chosen one.

``compute: equal`` splits the E (and T') steps of other methods between the two, ``paper`` gives each all of them: they are then
those of :mod:`local` and :mod:`fedavg_ft` to the bit. A client that never took part trains X alone for as many steps as a
participant's X took on average.
"""

from __future__ import annotations

from fedtap.algorithms.base import Algorithm, ByTask, ClientState, Models, Params, Update
from fedtap.algorithms.compute import Compute, split
from fedtap.components import ComponentState
from fedtap.personalization.choice import choose_by_task
from fedtap.training.client import LocalClient


class ChoiceParams(Params):
    """Parameters of the choice: ``compute`` says whether the two models share the steps of one. A single local step is w's."""

    compute: Compute = "equal"


class Choice(Algorithm):
    """Two models that know nothing of each other, and the better one for each task."""

    name = "choice"
    summary = "local and fedavg_ft side by side; for each task the better one on validation"
    source = "baseline"
    Params = ChoiceParams
    deployed = "chosen"
    beside = ("federated", "finetuned", "personal")
    params: ChoiceParams

    def start(self, client: LocalClient) -> ClientState:
        """Start the personal model at the common start."""
        return ClientState({"personal": client.initial_state()})

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the received slice and send it; train the personal model and keep it."""
        federated_steps, personal_steps = split(client.scenario.local_steps, self.params.compute)
        federated = client.train(received, federated_steps, "federated")
        personal = client.train(state.models["personal"], personal_steps, "federated", stays=True)
        update = Update(federated.state, client.counts(), federated.losses, personal.losses)
        trained = personal_steps > 0 or bool(state.facts.get("trained"))
        return update, ClientState({"personal": personal.state}, {"trained": trained})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Finish both models, and choose between them for each task."""
        federated_steps, personal_steps = split(client.scenario.training.finetune_steps, self.params.compute)
        personal = state.models["personal"]
        if not state.facts.get("trained"):
            rates = client.alone_rates if self.params.compute == "paper" else client.alone_rates[1::2]
            personal = client.train(personal, len(rates), "alone", rates=rates).state
        models = {
            "finetuned": client.finetune(received, federated_steps, "finish").state,
            "personal": client.finetune(personal, personal_steps, "finish").state,
        }
        chosen, decisions = choose_by_task(client, models)
        return ClientState(models, {"trained": True, "chosen": chosen}, decisions)

    def models(self, received: ComponentState, state: ClientState) -> Models:
        """Return the slice, the two models, and for each task which of them it uses."""
        found: dict[str, ComponentState | ByTask] = {"federated": received, **state.models}
        if "chosen" in state.facts:
            found["chosen"] = ByTask(state.facts["chosen"])
        return found
