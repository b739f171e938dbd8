"""The app that runs on a client's node: it takes a message apart, has the site answer it, and puts the answer together.

Each message may come to a process of its own, so nothing is kept here between two of them: private states lie in the site's own
store, and only what went well is committed there. Whatever goes wrong becomes an answer of one line.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedtap import __version__
from fedtap.engines.flower import codec
from fedtap.engines.flower.codec import Envelope
from fedtap.engines.flower.malformed import MalformedError
from fedtap.federation.messages import SECRETS, Reply, Request
from fedtap.runtime.errors import UserError

__all__ = ["ClientApp", "Site", "giving_up_after", "make_client_app"]

Config = Mapping[str, Any]
"""Settings by name, as Flower gives them: plain scalars."""


class Site(Protocol):
    """One client on its own machine."""

    client: str

    def newest(self) -> int:
        """Return the round of the client's newest private state, 0 where it has none."""

    def examples(self) -> Mapping[str, int]:
        """Return the number of training examples of each task."""

    def answer(self, request: Request) -> Reply:
        """Train, or make the personal model, and keep the new private state if all went well."""

    def evaluate(self, request: Request) -> list[dict[str, Any]]:
        """Save the client's models, test them on its own test data, and return the rows."""


OpenSite = Callable[[Config, Config, str], Site]
"""Opens a site from the node's settings, the run's settings, and the name of the federation's run."""


def make_client_app(open_site: OpenSite) -> ClientApp:
    """Return the app for a node whose site ``open_site`` opens."""
    app = ClientApp()

    def hello(content: RecordDict, context: Context) -> RecordDict:
        envelope = codec.decode_greeting(content)
        site = open_site(context.node_config, context.run_config, envelope.federation)
        return codec.encode_hello(_mine(envelope), site.client, site.examples(), site.newest())

    def ask(content: RecordDict, context: Context) -> RecordDict:
        request, envelope = codec.decode_request(content)
        with giving_up_after(envelope.time_left):
            if envelope.version != __version__:
                raise UserError(
                    f"the server runs fedtap {envelope.version}, this node {__version__}; install the same version"
                )
            site = open_site(context.node_config, context.run_config, envelope.federation)
            if request.client != site.client:
                raise UserError(f"a request for client '{request.client}' came to '{site.client}'")
            if request.kind == "evaluate":
                return codec.encode_rows(site.client, request.round, site.evaluate(request), _mine(envelope))
            return codec.encode_reply(site.answer(request), request.kind, _mine(envelope))

    for register, work in (
        (app.query("hello"), hello),
        (app.train("round"), ask),
        (app.train("personalise"), ask),
        (app.evaluate("own"), ask),
        *((app.query(kind), ask) for kind in SECRETS),
    ):
        register(_answering(work))
    return app


def _answering(work: Callable[[RecordDict, Context], RecordDict]) -> Callable[[Message, Context], Message]:
    """Return a handler that answers whatever happens."""

    def handle(message: Message, context: Context) -> Message:
        try:
            content = work(message.content, context)
        except (UserError, MalformedError, TimeoutError) as error:
            content = codec.encode_failure(str(error), Envelope(__version__, ""))
        except Exception as error:  # whatever a method raises at a client
            content = codec.encode_failure(f"{type(error).__name__}: {error}", Envelope(__version__, ""))
        return Message(content, reply_to=message)

    return handle


@contextmanager
def giving_up_after(seconds: float) -> Iterator[None]:
    """Raise :class:`TimeoutError` within if it takes longer; 0 is no limit.

    Nobody waits for the answer then, and a node that goes on would miss the next round: it takes one message after another. A
    thread that is not the main one has no alarm, and is left to itself.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"gave up after {seconds:g} s, the time that the server waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _mine(envelope: Envelope) -> Envelope:
    return Envelope(__version__, envelope.federation)
