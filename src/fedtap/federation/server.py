"""The server: its components, who holds which, and how a round's replies become the next components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fedtap.algorithms.base import Algorithm
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import ClientCard, Reply, Request
from fedtap.federation.validation import complaint
from fedtap.network.architecture import Architecture


class Server:
    """Holds the federated components; knows clients by their cards only.

    Parameters
    ----------
    algorithm
        Says what travels and how to aggregate.
    architecture
        Says which components a client's pairs call for.
    components
        The components to start from, or those of a checkpoint.
    cards
        The clients that may be asked.
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        architecture: Architecture,
        components: ComponentState,
        cards: Iterable[ClientCard],
    ) -> None:
        self.algorithm = algorithm
        self.components = components
        self._architecture = architecture
        self._cards = {card.id: card for card in cards}

    def slice_for(self, client: str) -> ComponentState:
        """Return the federated components of a client's plan."""
        plan = self._architecture.plan(self._cards[client].pairs)
        return self.components.slice(self.algorithm.travels(plan))

    def request(self, client: str, round_number: int) -> Request:
        """Return the request to train in a round."""
        return Request(client, round_number, "train", self.slice_for(client))

    def complaint(self, reply: Reply, request: Request) -> str | None:
        """Return why a reply must be refused, or None."""
        card = self._cards[request.client]
        return complaint(reply, request, card, self._most_examples(card), self.components)

    def aggregate(self, replies: Sequence[Reply]) -> None:
        """Take up accepted replies, in sorted client order whatever the order in which they came."""
        updates = [reply.update for reply in sorted(replies, key=lambda reply: reply.client)]
        if any(update.components for update in updates):
            self.components = self.algorithm.aggregate(self.components, updates)

    def _most_examples(self, card: ClientCard) -> Mapping[ComponentKey, int]:
        counts: dict[ComponentKey, int] = {}
        for pair in card.pairs:
            for key in self.algorithm.travels(self._architecture.path(card.pairs, pair.task)):
                counts[key] = counts.get(key, 0) + card.examples[pair.task]
        return counts
