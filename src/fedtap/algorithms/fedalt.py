r"""FedALT: an own adapter that nobody overwrites, beside the mean of the others'. Bian, Wang, Zhang, Xu 2025, arXiv 2503.11880.

With the others' mean, :math:`A_r = \frac{1}{K-1} \sum_{j \ne i} A_j` and :math:`B_r` alike (the rest of the world),

.. math::
    x W + \tfrac{\alpha}{r} \big( g(x) \, x A_i B_i + (1 - g(x)) \, x A_r B_r \big), \qquad
    (A_i, B_i, g) \leftarrow \mathrm{AdamW}^E(f_i, (A_i, B_i, g))

:math:`A_i, B_i` go on from where the client left them, never from the server's; they are sent, to be averaged for the others. The
mixer g, a softmax over the two, is learned from inputs and stays at home.

Differences from the paper: there all clients take part in each round; here the server remembers each client's last adapters, and
the mean is over those heard of. The mixer sees an example as it enters the fusion, once for each component and layer
(:mod:`dual`), not every token before every matrix. What is no adapter is averaged over its holders, as in every method here.
After the last round comes the low-rate fine-tuning of every personalising method, with the rest of the world frozen. A client
that never took part is sent the mean over all, and first trains an own adapter and mixer (:mod:`partial`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fedtap.algorithms.base import ClientState, ServerState, Update
from fedtap.algorithms.dual import Dual, as_own, as_shared, is_gate, is_shared
from fedtap.components import ComponentKey, ComponentState
from fedtap.training.client import LocalClient


class FedAlt(Dual):
    """Own adapters that are only ever trained, and the others' mean beside them."""

    name = "fedalt"
    summary = "own adapters never overwritten, beside the frozen mean of the others', mixed by a learned gate"
    source = "Bian et al. 2025, arXiv 2503.11880"

    def start(self, client: LocalClient) -> ClientState:
        """Start own adapters and gates at the common start. The adapters are kept as what they are sent as."""
        initial = client.initial_state()
        return ClientState({"own": as_shared(initial), "home": initial.select(is_gate)})

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Train all but the others' mean; send own adapters in its place."""
        steps = client.scenario.local_steps
        trained = client.train(_whole(received, state), steps, "federated", only=_moves)
        own = as_shared(trained.state)
        sent = trained.state.select(self.travels).overlay(own)
        counts = {key: count for key, count in client.counts().items() if key in sent}
        kept = ClientState({"own": own, "home": trained.state.select(is_gate)}, {"trained": True})
        return Update(sent, counts, trained.losses), kept

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Remember adapters, and make for each client the mean of the others'; all else is averaged as ever."""
        kept = {**server.kept, **{client: update.components.select(is_shared) for client, update in updates.items()}}
        everyone = self._mean_over(kept.values())
        components = server.components.merge(self.mean(updates)).overlay(everyone)
        tailored = {}
        for client, mine in sorted(kept.items()):
            others = [
                state.slice(key for key in mine if key in state)
                for name, state in sorted(kept.items())
                if name != client
            ]
            tailored[client] = mine.map(lambda tensor: 0 * tensor).overlay(self._mean_over(others))
        return replace(server, components=components, tailored=tailored, kept=kept)

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Finish all but the others' mean; a newcomer first trains an own adapter and its gates."""
        model = _whole(received, state)
        if not state.facts.get("trained"):
            rates = client.alone_rates
            model = client.train(model, len(rates), "alone", rates=rates, only=self.stays).state
        done = client.finetune(model, client.scenario.training.finetune_steps, "finish", only=_moves)
        return ClientState({"personal": done.state}, {"trained": True, "finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the personal model; where it was never finished, what there is of it."""
        return {"personal": _whole(received, state)} if "own" in state.models else dict(state.models)

    def _mean_over(self, states: Iterable[ComponentState]) -> ComponentState:
        """Return the mean of clients' adapters, in which each client counts alike."""
        return self.mean_of([(state, dict.fromkeys(state, 1)) for state in states])


def _whole(received: ComponentState, state: ClientState) -> ComponentState:
    return received.overlay(as_own(state.models["own"])).overlay(state.models["home"])


def _moves(key: ComponentKey, name: str) -> bool:
    return not is_shared(key, name)
