"""What a request has to pass before anybody reads it: host, key, type, size, time. Plain ASGI; not here: what is asked."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/page.js", "/health"})
"""What can be had without a key: none of it says anything of the models."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be.

    Parameters
    ----------
    body
        Bytes.
    seconds
        Between two parts of a body.
    examples
        In a request.
    text
        Characters of one.
    image
        Bytes of the file of one.
    pixels
        Of all pictures of a request together, decoded.
    """

    body: int = 16_000_000
    seconds: float = 20.0
    examples: int = 64
    text: int = 20_000
    image: int = 8_000_000
    pixels: int = 40_000_000


class RefusedError(Exception):
    """A request that is not read any further."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Gate:
    """Lets requests through to an application, or refuses them with a status of 4xx and one line.

    Parameters
    ----------
    app
        The application.
    limits
        Sizes and times.
    key
        What ``Authorization: Bearer KEY`` must say; None where none is asked for.
    hosts
        The names by which this server may be called, without port; None: any. On loopback a page of the web could otherwise
        have its own name lead here, and its visitors' browsers ask.
    """

    def __init__(self, app: App, limits: Limits, *, key: str | None, hosts: frozenset[str] | None) -> None:
        self._app, self._limits, self._key, self._hosts = app, limits, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the server closes what nobody accepts
        body = _Body(receive, self._limits)

        async def told(message: Message) -> None:
            if body.refused is not None:
                return  # whatever the application makes of half a body
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_raw(HEADERS)]}
            await send(message)

        try:
            self._check(scope)
        except RefusedError as refused:
            await _refuse(refused, told)
            return
        with suppress(RefusedError):
            await self._app(scope, body.receive, told)
        if body.refused is not None:
            await _refuse(body.refused, send)

    def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts is not None and name not in self._hosts:
            raise RefusedError(421, "this server is not called so; use localhost or 127.0.0.1")
        if self._key is not None and scope["path"] not in OPEN:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._key.encode()):
                raise RefusedError(401, "the key is missing or wrong; send Authorization: Bearer KEY")
        if scope["method"] in ("POST", "PUT", "PATCH"):
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json" or b"content-encoding" in headers:
                raise RefusedError(415, "send application/json, not compressed")
            length = headers.get(b"content-length", b"0")
            if not length.isdigit() or len(length) > 12 or int(length) > self._limits.body:
                raise RefusedError(
                    413, f"the body is larger than {self._limits.body} bytes; send fewer examples at once"
                )


class _Body:
    """A request's body, read no further than is allowed; ``refused`` says why it was not."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._read, self._whole = 0, False
        self.refused: RefusedError | None = None

    async def receive(self) -> Message:
        """Return the next message of the server; raises :class:`RefusedError` if the body is too large or does not come."""
        if self._whole:
            return await self._receive()  # what comes now is that the client has gone
        try:
            message = await asyncio.wait_for(self._receive(), self._limits.seconds)
        except asyncio.TimeoutError:
            raise self._refusal(408, "the body did not come; send it at once") from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._read > self._limits.body:
                raise self._refusal(
                    413, f"the body is larger than {self._limits.body} bytes; send fewer examples at once"
                )
        return message

    def _refusal(self, status: int, why: str) -> RefusedError:
        self.refused = RefusedError(status, why)
        return self.refused


async def _refuse(refused: RefusedError, send: Send) -> None:
    body = json.dumps({"detail": refused.why}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    await send({"type": "http.response.start", "status": refused.status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": body})


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
