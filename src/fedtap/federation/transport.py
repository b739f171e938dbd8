"""How requests reach clients and replies come back; an engine implements it, and nothing else knows which one is in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fedtap.federation.messages import ClientCard, Failure, Reply, Request


class Transport(Protocol):
    """The way to the clients."""

    def clients(self) -> Sequence[ClientCard]:
        """Return the cards of all clients that can be reached."""

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        """Send requests and iterate over the answers as they come, one for each request, in any order.

        ``timeout`` is in seconds for all of them together; a client that has not answered by then is a :class:`Failure`.
        """
