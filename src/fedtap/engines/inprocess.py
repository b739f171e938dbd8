"""The in-process engine: clients answer one after another in this process, with one network and a store on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.text import one_line


class InProcessTransport:
    """A transport without a wire.

    A client that raises is a failure of that client, not of the run; only errors of the machine or of what the user gave (a full
    disk, a damaged file) end the run, since they would hit every client alike.
    """

    def __init__(self, site: ClientSite, cards: Sequence[ClientCard]) -> None:
        self._site = site
        self._cards = tuple(cards)

    def clients(self) -> Sequence[ClientCard]:
        """Return the cards of all clients."""
        return self._cards

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        """Answer requests in sorted client order; without a wire there is nothing to time out."""
        for request in sorted(requests, key=lambda request: request.client):
            try:
                yield self._site.answer(request)
            except (UserError, RunError, MemoryError):
                raise
            except Exception as error:  # whatever a method raises at a client
                yield Failure(request.client, request.round, one_line(f"{type(error).__name__}: {error}"))
