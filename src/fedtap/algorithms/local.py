r"""Local training: each client trains on its own data, and nothing is exchanged.

.. math:: X_i \leftarrow \mathrm{AdamW}^E(f_i, X_i)

The base that personalization is measured against. A client trains in the rounds in which it is sampled, so that it takes as
many steps as under any other method. A client that never took part trains alone for as many steps as a participant took.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedtap.algorithms.base import Algorithm, ClientState, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.training.client import LocalClient


class Local(Algorithm):
    """No federation."""

    name = "local"
    summary = "each client alone, no exchange"
    source = "baseline"
    deployed = "personal"
    beside = ()

    def travels(self, key: ComponentKey, name: str) -> bool:
        """Nothing travels."""
        return False

    def start(self, client: LocalClient) -> ClientState:
        """Start from the common start of all components."""
        return ClientState({"personal": client.initial_state()})

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train the personal model; send nothing but the losses."""
        trained = client.train(state.models["personal"], client.scenario.local_steps, "federated", stays=True)
        return Update(ComponentState(), {}, trained.losses), ClientState({"personal": trained.state}, {"trained": True})

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Take the low-rate fine-tuning that every personalising method takes."""
        model = state.models["personal"]
        if not state.facts.get("trained"):
            model = client.train(model, len(client.alone_rates), "alone", rates=client.alone_rates).state
        done = client.finetune(model, client.scenario.training.finetune_steps, "finish")
        return ClientState({"personal": done.state}, {"trained": True, "finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the personal model."""
        return dict(state.models)
