"""The server: its state, who holds which components, and how a round's replies become the next state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fedtap.aggregation.robust_means import mean_rule
from fedtap.algorithms.base import Algorithm, ServerState, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.filters import (
    Note,
    add_central_noise,
    apply_defence,
    restore_values,
    take_private_steps,
    weigh_holders,
)
from fedtap.federation.messages import ClientCard, Reply, Request
from fedtap.federation.secure.client import holds_whole
from fedtap.federation.validation import complaint
from fedtap.federation.wire import pack
from fedtap.network.architecture import Architecture
from fedtap.runtime.randomness import secret_generator, torch_generator
from fedtap.scenario.safety import Safety, SecureSettings

NO_SAFETY = Safety()


class Server:
    """Holds the federated model; knows clients by their cards only.

    Parameters
    ----------
    algorithm
        Says what travels and how to aggregate.
    architecture
        Says which components a client's pairs call for.
    state
        The state to start from, or that of a checkpoint.
    cards
        The clients that may be asked.
    safety
        What becomes of updates before they are averaged, and the rule of the mean; by default nothing and the weighted mean.
    chances
        With ``sampling: coverage`` that of each client's coin.
    seed
        The run's; with ``privacy.noise_source: seeded`` the server's noise follows from it.
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        architecture: Architecture,
        state: ServerState,
        cards: Iterable[ClientCard],
        safety: Safety = NO_SAFETY,
        chances: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        robust = safety.defence.mean != "weighted"
        self.algorithm = algorithm.averaging_by(mean_rule(safety.defence)) if robust else algorithm
        self._safety = safety
        self._chances = chances
        self._seed = seed
        self._precision = safety.wire.precision
        self.state = state
        self._architecture = architecture
        self._cards = {card.id: card for card in cards}
        self._travels: dict[ComponentKey, bool] = {}

    def register(self, card: ClientCard) -> None:
        """Take up a client's card, in the place of an earlier one."""
        self._cards[card.id] = card

    @property
    def components(self) -> ComponentState:
        """The federated model."""
        return self.state.components

    def slice_for(self, client: str) -> ComponentState:
        """Return what a client is sent: of the components of its plan, the tensors that travel, packed as they travel."""
        return pack(self._exact_slice(client), self._precision)

    def _exact_slice(self, client: str) -> ComponentState:
        plan = self._architecture.plan(self._cards[client].pairs)
        return self.state.slice_for(client, self._travelling(plan))

    def request(self, client: str, round_number: int) -> Request:
        """Return the request to train in a round."""
        return Request(client, round_number, "train", self.slice_for(client))

    def complaint(self, reply: Reply, request: Request) -> str | None:
        """Return why a reply must be refused, or None."""
        card = self._cards[request.client]
        most = self._most_examples(card)
        return complaint(reply, request, card, most, self.state.components, self._precision)

    @property
    def secure(self) -> SecureSettings | None:
        """What was agreed on for secure aggregation, if there is any."""
        return self._safety.privacy.secure

    def masked_complaint(self, reply: Reply, request: Request, masked: frozenset[ComponentKey], few: str) -> str | None:
        """Return why a reply with masked components must be refused, or None; ``few`` says whether others may come."""
        for key in sorted(masked):
            if key not in reply.update.components or not holds_whole(
                reply.update.components[key], request.components[key]
            ):
                return f"component '{key}' is not masked as was agreed on"
        # For the masked values, which may be anything, stand those that were sent; all else must be as it is without masks.
        shown = ComponentState({**reply.update.components, **{key: request.components[key] for key in masked}})
        if few == "withhold" and len(shown) > len(masked):
            return "components came that were to stay at the client"
        return self.complaint(replace(reply, update=replace(reply.update, components=shown)), request)

    def aggregate(self, replies: Sequence[Reply]) -> list[Note]:
        """Take up accepted replies, in sorted client order however they came; return what was done to them, as events."""
        updates = {reply.client: reply.update for reply in sorted(replies, key=lambda reply: reply.client)}
        sent = {client: self._exact_slice(client) for client in updates}
        updates = {client: restore_values(update, sent[client], self._precision) for client, update in updates.items()}
        notes: list[Note] = []
        if self._safety.privacy.local is not None:  # first, since what is refused below was read all the same
            updates, notes = take_private_steps(updates, {reply.client: reply.steps for reply in replies})
        updates, done = apply_defence(updates, sent, self._safety.defence)
        notes += done
        served = {client: self._architecture.served(self._cards[client].pairs) for client in updates}
        examples = {
            client: sum(self._cards[client].examples[pair.task] for pair in pairs) for client, pairs in served.items()
        }
        updates = weigh_holders(updates, self._safety.weights, examples, self._chances)
        if self._safety.privacy.central is not None and updates:
            updates = self._noised(updates, sent, replies[0].round)
        if any(update.components or update.vectors for update in updates.values()):
            self.state = self.algorithm.aggregate(self.state, updates)
        return notes

    def _noised(
        self, updates: Mapping[str, Update], sent: Mapping[str, ComponentState], round_number: int
    ) -> dict[str, Update]:
        privacy = self._safety.privacy
        assert privacy.central is not None
        plans = (self._travelling(self._architecture.plan(card.pairs)) for card in self._cards.values())
        seeded = privacy.noise_source == "seeded"
        generator = torch_generator(self._seed, round_number, "central noise") if seeded else secret_generator()
        return add_central_noise(
            updates,
            sent,
            self.state.components,
            privacy.central,
            most=max(len(plan) for plan in plans),
            generator=generator,
        )

    def _most_examples(self, card: ClientCard) -> Mapping[ComponentKey, int]:
        counts: dict[ComponentKey, int] = {}
        for pair in card.pairs:
            for key in self._travelling(self._architecture.path(card.pairs, pair.task)):
                counts[key] = counts.get(key, 0) + card.examples[pair.task]
        return counts

    def _travelling(self, keys: frozenset[ComponentKey]) -> frozenset[ComponentKey]:
        """Return the components of which at least one tensor travels."""
        for key in keys - self._travels.keys():
            names = self._architecture.shapes(key)
            self._travels[key] = any(self.algorithm.travels(key, name) for name in names)
        return frozenset(key for key in keys if self._travels[key])
