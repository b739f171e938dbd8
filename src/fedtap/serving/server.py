"""The server: where it listens, and what it asks of who calls. Not here: what it answers (app.py)."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import NotPlainError, read_bounded
from fedtap.serving.app import application
from fedtap.serving.gate import LOOPBACK, Limits

KEY = "FEDTAP_KEY"
SHORTEST = 16  # characters of a key
MAX_KEY = 1_000  # bytes
AT_ONCE = 128  # connections; more are told to come again


def prepared(
    models: Mapping[str, PersonalModel],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    limits: Limits | None = None,
) -> tuple[uvicorn.Server, socket.socket]:
    """Return a server, not yet running, and the socket on which it will listen.

    Parameters
    ----------
    models
        By the names under which they are asked.
    host, port
        Where to listen; port 0 is any that is free.
    key
        What callers must have; needed unless the host is this machine alone.
    limits
        Of requests.

    Raises
    ------
    UserError
        If the key is missing or short, or the place is taken or not of this machine.
    """
    alone = is_loopback(host)
    if not alone and key is None:
        raise UserError(f"--host {host}: others can reach it, so a key is needed; give --key-file FILE, or set {KEY}")
    if key is not None and (len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key):
        raise UserError(f"the key must be {SHORTEST} or more plain characters without spaces; make a longer one")
    app = application(models, limits=limits, key=key, hosts=LOOPBACK if alone else None)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=AT_ONCE)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: cannot listen there ({error.strerror}); give another") from error
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=AT_ONCE,
        ws="none",
    )
    return uvicorn.Server(config), listening


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(file: Path | None) -> str | None:
    """Return the key in a file, or in the environment, or None.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    if file is None:
        return os.environ.get(KEY) or None
    try:
        return read_bounded(file, MAX_KEY).decode().strip()
    except (OSError, NotPlainError, UnicodeError) as error:
        raise UserError(f"--key-file {file}: cannot be read ({error}); give a file that holds the key alone") from error
