"""The transport over Flower's Grid: requests go to the nodes of their clients, answers come as they come, each in its time.

An answer is attributed by the message that it replies to, never by what it says of itself: an error that the SuperLink made up
for a dead node comes from the SuperLink. What comes late, twice, or for another round is passed on for what it is, and the round
loop refuses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedtap import __version__
from fedtap.components import ComponentState
from fedtap.engines.flower import codec
from fedtap.engines.flower.bounds import Asked
from fedtap.engines.flower.malformed import MalformedError
from fedtap.engines.flower.nodes import Nodes
from fedtap.federation.messages import SECRETS, ClientCard, EvaluateReply, Failure, Reply, Request

HELLO = "query.hello"
MESSAGE_TYPES = {
    "train": "train.round",
    "personalise": "train.personalise",
    "evaluate": "evaluate.own",
    **{kind: f"query.{kind}" for kind in SECRETS},
}
GRACE = 60.0  # seconds that the SuperLink keeps a message beyond the time in which its answer counts
HELLO_TTL = 600.0
MANNERS = 60.0  # seconds in which a node that works answers a greeting
POLL = 1.0  # seconds between two looks for answers

Answer = TypeVar("Answer", Reply, EvaluateReply)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message that is out: to which node, with which request, what its answer may hold, and until when it counts."""

    request: Request
    asked: Asked
    node: int
    until: float


class FlowerTransport:
    """The way to clients on other machines.

    Parameters
    ----------
    grid
        Flower's.
    nodes
        Who speaks for whom.
    federation
        Names the run; an answer that names another is refused.
    at_once
        The most clients that work at a time, where all of them share a machine; None: no limit.
    clock, sleep
        For tests.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Nodes,
        *,
        federation: str,
        at_once: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid = grid
        self._nodes = nodes
        self._federation = federation
        self._at_once = at_once
        self._clock = clock
        self._sleep = sleep
        self._greeted: dict[str, int] = {}  # message -> node
        self._late: dict[str, _Sent] = {}  # messages whose answers do not count any more, but may come
        self._answered: dict[str, _Sent] = {}
        self._round = 0

    def clients(self) -> Sequence[ClientCard]:
        """Greet nodes that were not seen before, and return the cards of all clients that have been heard of."""
        self._greet()
        return self._nodes.cards

    def wait_for(self, clients: Iterable[str], *, at_least: int, patience: float) -> list[str]:
        """Wait until so many of the clients are connected, but not longer than ``patience`` seconds; return those that are.

        Nodes that were greeted and have not answered yet are waited for a little longer: one of the others may be among them.
        """
        clients = list(clients)
        began = self._clock()
        retried = 0.0
        while True:
            if self._clock() - began >= retried + MANNERS:  # what was wrong with a node may have been mended meanwhile
                retried += MANNERS
                self._nodes.retry()
            self._greet()
            here = self._nodes.connected(clients)
            waited = self._clock() - began
            settled = not self._greeted or waited >= min(MANNERS, patience)
            if len(here) == len(clients) or (len(here) >= at_least and settled) or waited >= patience:
                return here
            self._sleep(POLL)

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        """Send requests and iterate over the answers as they come; see :class:`fedtap.federation.transport.Transport`.

        ``timeout`` counts for each client from when its request is sent.
        """
        ordered = sorted(requests, key=lambda request: request.client)
        yield from self._converse(ordered, timeout, self._reply)

    def evaluate(
        self, requests: Iterable[Request], *, timeout: float | None = None
    ) -> Iterator[EvaluateReply | Failure]:
        """Have clients test their models on their own data; what they answer is not looked into here.

        Requests are taken as they are sent, so that not all of them need to be in memory at once.
        """
        yield from self._converse(requests, timeout, self._tested)

    def _converse(
        self, requests: Iterable[Request], timeout: float | None, read: Callable[[RecordDict, _Sent], Answer]
    ) -> Iterator[Answer | Failure]:
        self._answered.clear()
        self._greet()
        queue = iter(requests)
        waiting: dict[str, _Sent] = {}
        following = next(queue, None)
        while following is not None or waiting:
            while following is not None and (self._at_once is None or len(waiting) < self._at_once):
                self._enter(following.round)
                failure = self._send(following, timeout, waiting)
                if failure is not None:
                    yield failure
                following = next(queue, None)
            for message in self._pull(waiting):
                answer = self._heard(message, waiting, read)
                if answer is not None:
                    yield answer
            for name in [name for name, sent in waiting.items() if self._clock() >= sent.until]:
                late = self._late[name] = waiting.pop(name)
                yield Failure(late.request.client, late.request.round, f"no answer within {timeout:g} s")
            if waiting:
                self._sleep(POLL)

    def _enter(self, number: int) -> None:
        """Take note of the round; nodes that were refused in the one before are greeted again."""
        if number != self._round:
            self._round = number
            self._nodes.retry()
            self._greet()

    def _send(self, request: Request, timeout: float | None, waiting: dict[str, _Sent]) -> Failure | None:
        node = self._nodes.node(request.client)
        if node is None:
            return Failure(request.client, request.round, "its node is not connected")
        content = codec.encode_request(request, self._envelope(timeout or 0.0))
        ttl = None if timeout is None else timeout + GRACE
        name = self._push(content, node, MESSAGE_TYPES[request.kind], str(request.round), ttl)
        if name is None:
            return Failure(request.client, request.round, "the SuperLink did not take the request")
        self._nodes.asked(request.client, request.round)
        # Without the components that were sent: they are many bytes, and of no use any more.
        light = replace(request, components=ComponentState(), secure="")
        waiting[name] = _Sent(
            light, Asked.by(request), node, float("inf") if timeout is None else self._clock() + timeout
        )
        return None

    def _push(self, content: RecordDict, node: int, kind: str, group: str, ttl: float | None) -> str | None:
        names = list(self._grid.push_messages([Message(content, node, kind, ttl=ttl, group_id=group)]))
        return names[0] if names and names[0] else None

    def _pull(self, waiting: Mapping[str, _Sent]) -> list[Message]:
        wanted = [*waiting, *self._late, *self._greeted]
        messages: list[Message] = []
        for message in self._grid.pull_messages(wanted) if wanted else ():
            node = self._greeted.pop(message.metadata.reply_to_message_id, None)
            if node is None:
                messages.append(message)
            else:
                self._met(node, message)
        return messages

    def _heard(
        self, message: Message, waiting: dict[str, _Sent], read: Callable[[RecordDict, _Sent], Answer]
    ) -> Answer | Failure | None:
        """Return what a message is an answer to and says, or None for what was not asked, or came late and says nothing."""
        name = message.metadata.reply_to_message_id
        in_time = waiting.pop(name, None)
        sent = in_time or self._late.pop(name, None) or self._answered.get(name)
        if sent is None:
            self._nodes.refuse(message.metadata.src_node_id, "an answer to a message that was never sent", self._round)
            return None
        self._answered[name] = sent
        request = sent.request
        if message.has_error():
            error = message.error
            why = f"error {error.code}: {error.reason}"
        elif message.metadata.src_node_id != sent.node:
            why = "another node than the one that was asked has answered"
        else:
            try:
                return read(message.content, sent)
            except MalformedError as error:
                why = str(error)
            except Exception as error:  # whatever hostile records make the decoder do is their sender's failure
                why = f"cannot be read ({type(error).__name__}: {error})"
        return Failure(request.client, request.round, why) if in_time else None

    def _reply(self, content: RecordDict, sent: _Sent) -> Reply:
        reply, envelope = codec.decode_reply(content, sent.asked)
        self._check(envelope)
        if reply.client != sent.request.client:
            raise MalformedError(f"an answer for client '{reply.client[:64]}'")
        return reply

    def _tested(self, content: RecordDict, sent: _Sent) -> EvaluateReply:
        request = sent.request
        rows, client, number, envelope = codec.decode_rows(content)
        self._check(envelope)
        if (client, number) != (request.client, request.round):
            raise MalformedError(f"rows of client '{client[:64]}' after round {number}, which were not asked for")
        return EvaluateReply(client, number, rows)

    def _check(self, envelope: codec.Envelope) -> None:
        if envelope.federation != self._federation:
            raise MalformedError("an answer that belongs to another federation's run")

    def _envelope(self, time_left: float = 0.0) -> codec.Envelope:
        return codec.Envelope(__version__, self._federation, time_left)

    def _greet(self) -> None:
        """Greet nodes that have not been greeted, and hear those that have answered; nobody is waited for."""
        online = {node.node_id: node.public_key for node in self._grid.get_nodes()}
        for node in self._nodes.look(online):
            name = self._push(codec.encode_hello(self._envelope()), node, HELLO, "hello", HELLO_TTL)
            if name is None:
                self._nodes.forget(node)
            else:
                self._greeted[name] = node
        for message in self._grid.pull_messages(list(self._greeted)) if self._greeted else ():
            greeted = self._greeted.pop(message.metadata.reply_to_message_id, None)
            if greeted is not None:
                self._met(greeted, message)

    def _met(self, node: int, message: Message) -> None:
        """Take a node's answer to a greeting."""
        try:
            if message.has_error():
                raise MalformedError(f"error {message.error.code}: {message.error.reason}")
            if message.metadata.src_node_id != node:
                raise MalformedError("another node has answered the greeting")
            card, envelope = codec.decode_hello(message.content)
            if envelope.version != __version__:
                raise MalformedError(f"runs fedtap {envelope.version[:40]}, the server {__version__}; install the same")
            self._check(envelope)
        except Exception as error:  # as for any other answer
            self._nodes.refuse(node, str(error), self._round)
            return
        self._nodes.welcome(node, card.client, card.examples, newest=card.newest, round_number=self._round)
