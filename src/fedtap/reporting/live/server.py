"""The server of one run's page: loopback alone, reading alone, pages by their names and no file of the disk. Standard library.

Whoever reads must know the address, which has a secret in it, since all users of a machine reach its loopback. A reader that is
slow, or says nothing, holds up nobody else. Not here: what is on the page (watched.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from fedtap.reporting.html.page import scripts
from fedtap.reporting.live.watched import Watched
from fedtap.runtime.errors import UserError

HOST = "127.0.0.1"
AT_ONCE = 32  # readers; more are turned away
PATIENCE = 20.0  # seconds for which a reader may say nothing, or take nothing
NAMES = ("127.0.0.1", "localhost", "[::1]")


def listen(port: int) -> socket.socket:
    """Return a socket of this machine alone that listens; port 0 is any that is free.

    Raises
    ------
    UserError
        If the port is taken.
    """
    try:
        return socket.create_server((HOST, port), backlog=AT_ONCE)
    except OSError as error:
        raise UserError(f"--port {port}: cannot listen there ({error.strerror}); give another, or none") from error


def new_secret() -> str:
    """Return what only those know who were told the address."""
    return secrets.token_urlsafe(9)


def address(listening: socket.socket, secret: str) -> str:
    """Return where a browser of this machine finds the page."""
    return f"http://{HOST}:{listening.getsockname()[1]}/{secret}/"


class PageServer(ThreadingHTTPServer):
    """Serves one run's page, a thread a reader.

    Parameters
    ----------
    watched
        The run.
    listening
        A socket that listens already; it is this server's from now on.
    secret
        The first part of every path.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, watched: Watched, listening: socket.socket, secret: str) -> None:
        super().__init__((HOST, 0), _Reader, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_address = listening.getsockname()
        self.watched, self.secret = watched, secret
        self.hosts = frozenset({*NAMES, *(f"{name}:{self.server_address[1]}" for name in NAMES)})
        self.policy = _policy()
        self.closed = False
        self.last: dict[str, tuple[str, float]] = {}
        """What each reader that is there has, and when it last asked, by its address."""
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def server_close(self) -> None:
        """End: readers that are there get nothing more."""
        self.closed = True
        super().server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a reader in a thread, or turn it away where there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a reader, and make its place free."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.last.pop(str(client_address), None)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a reader that has gone be gone: there is nobody to tell."""


class _Reader(BaseHTTPRequestHandler):
    """One reader's requests, one after another."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Give a page, or say that it is the one the reader has."""
        server = cast(PageServer, self.server)
        if server.closed:
            self.close_connection = True
            return
        if self._refused(server):
            return
        _, secret, name = [*self.path.partition("?")[0].split("/", 2), "", ""][:3]
        known = hmac.compare_digest(secret.encode("utf-8", "replace"), server.secret.encode())
        shown = server.watched.page(name) if known else None
        if shown is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such page here; take the address that fedtap printed")
            return
        fresh = self.headers.get("If-None-Match") == shown.tag
        self.send_response(HTTPStatus.NOT_MODIFIED if fresh else HTTPStatus.OK)
        self.send_header("ETag", shown.tag)
        if not fresh:
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(shown.text)))
        self.end_headers()
        if not fresh:
            self.wfile.write(shown.text)
        server.last[str(self.client_address)] = (shown.tag, time.monotonic())

    def _refused(self, server: PageServer) -> bool:
        """Refuse who calls this server by another name: a page of the web could have its own name lead here."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what it brings is not read
        hosts = self.headers.get_all("Host") or []
        if len(hosts) == 1 and hosts[0].strip().lower() in server.hosts:
            return False
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"this server is not called so; use {HOST} or localhost")
        return True

    def end_headers(self) -> None:
        """Add what every answer has: what the page may do, and that nobody keeps it."""
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": cast(PageServer, self.server).policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in one line of plain text, and end the connection; of what was asked nothing is repeated."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "pages can be read here, and nothing else"
        elif code not in (HTTPStatus.NOT_FOUND, HTTPStatus.MISDIRECTED_REQUEST):
            message = HTTPStatus(code).phrase
        body = f"{message}\n".encode()
        self.close_connection = True
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Return what the server calls itself."""
        return "fedtap"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the run's."""


def _policy() -> str:
    """Return what a page may do: run its own scripts and no others, ask this server, load nothing."""
    own = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts(live=True))
    allowed = " ".join(f"'sha256-{digest}'" for digest in own)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
