r"""What FedPer, FedRep and FedBN share: some tensors are averaged, the others stay at home. Not a method itself.

Client i's model is :math:`(w, h_i)`: :math:`w` travels and is averaged over its holders, :math:`h_i` never leaves. A round is

.. math:: (w_i, h_i) \leftarrow \mathrm{train}(f_i, (w, h_i)), \quad w_c \leftarrow \sum_i n_{i,c} w_{i,c} / \sum_i n_{i,c}

and after the last one the whole of :math:`(w, h_i)` takes the low-rate fine-tuning of every personalising method.

A client that never took part receives a trained :math:`w`, but its :math:`h_i` stands at the common start; a head there has not
learned to say anything, and low-rate fine-tuning alone would not teach it. It first trains :math:`h_i` with :math:`w` frozen, for
as many steps, at the same rates, as a participant takes on average (``client.alone_rates``, by which ``local`` serves newcomers
too). That is at the most what a participant has trained, and it shows among the steps in the run's log; methods whose newcomers
are sent everything need none of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from fedtap.algorithms.base import Algorithm, ClientState, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.training.client import LocalClient, Trained


class Partial(Algorithm):
    """A method by which only some tensors travel; :meth:`travels` says which."""

    deployed = "personal"
    beside: tuple[str, ...] = ()
    architectures = ("experts", "plain")  # the probe is one linear map: it has no body that others could share

    @abstractmethod
    def travels(self, key: ComponentKey, name: str) -> bool:
        """Tell whether a component's tensor is sent down, up, and averaged."""

    def stays(self, key: ComponentKey, name: str) -> bool:
        """Tell whether a component's tensor stays at home."""
        return not self.travels(key, name)

    def start(self, client: LocalClient) -> ClientState:
        """Start what stays at home at the common start."""
        return ClientState({"home": client.initial_state().select(self.stays)})

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Complete what was received with what is at home, train, send what travels and keep the rest."""
        trained = self.train(client, received.overlay(state.models["home"]))
        sent = trained.state.select(self.travels)
        counts = {key: count for key, count in client.counts().items() if key in sent}
        home = trained.state.select(self.stays)
        return Update(sent, counts, trained.losses), ClientState({"home": home}, {"trained": True})

    def train(self, client: LocalClient, model: ComponentState) -> Trained:
        """Take the round's E steps on the whole model."""
        return client.train(model, client.scenario.local_steps, "federated")

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Finish the whole model; a newcomer first trains what stays at home."""
        model = received.overlay(state.models["home"])
        if not state.facts.get("trained"):
            rates = client.alone_rates
            model = client.train(model, len(rates), "alone", rates=rates, only=self.stays).state
        done = client.finetune(model, client.scenario.training.finetune_steps, "finish")
        return ClientState({"personal": done.state}, {"trained": True, "finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the personal model; where it was never finished, what there is of it. What travels is no model by itself."""
        if "home" in state.models:
            return {"personal": received.overlay(state.models["home"])}
        return dict(state.models)
