"""The server as its callers see it: answers over loopback, and requests that are not let in, each with a status of 4xx."""

import base64
import http.client
import io
import json
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError
from fedtap.serving.gate import Limits
from fedtap.serving.page import SCRIPT
from fedtap.serving.server import prepared, read_key
from models.test_personal_model import WORDS, run

__all__ = ["run"]
LIMITS = Limits(body=60_000, seconds=0.5, examples=4, text=1_000, image=30_000, pixels=10_000)
KEY = "a-key-of-some-length"
Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(models: dict[str, PersonalModel], **more: Any) -> Iterator[int]:
    server, listening = prepared(models, port=0, limits=LIMITS, **more)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def models(run: Path) -> dict[str, PersonalModel]:
    return {name: PersonalModel.from_run(run, name) for name in ("clinic", "lab")}


@pytest.fixture(scope="module")
def port(models: dict[str, PersonalModel]) -> Iterator[int]:
    with serving(models) as port:
        yield port


def call(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        connection.request(method, path, sent, {**kind, **(headers or {})})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def ask(port: int, model: str, body: Any, **more: Any) -> tuple[int, Any]:
    status, _, told = call(port, "POST", f"/models/{model}/predict", body, **more)
    return status, json.loads(told)


def png(side: int = 20) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(side).integers(0, 255, (side, side, 3)).astype(np.uint8)).save(
        file, format="PNG"
    )
    return file.getvalue()


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_it_says_that_it_is_well_and_what_it_has(port: int) -> None:
    assert json.loads(call(port, "GET", "/health")[2]) == {"status": "ok", "models": 2}
    told = json.loads(call(port, "GET", "/models")[2])
    assert [(model["name"], [task["name"] for task in model["tasks"]]) for model in told] == [
        ("clinic", ["triage"]), ("lab", ["cells", "redraw"]),
    ]  # fmt: skip
    schema = json.loads(call(port, "GET", "/openapi.json")[2])
    assert set(schema["paths"]) == {"/health", "/models", "/models/{name}/predict"}


def test_answers_are_those_of_the_model(port: int, models: dict[str, PersonalModel]) -> None:
    status, told = ask(port, "clinic", {"examples": [{"text": word} for word in WORDS[:3]]})
    assert status == 200
    for answer, word in zip(told["answers"], WORDS, strict=False):
        known = models["clinic"].predict(text=word)
        assert answer["label"] == known["label"]
        assert answer["probabilities"] == pytest.approx(known["probabilities"], abs=2e-6)
    status, told = ask(port, "lab", {"task": "redraw", "examples": [{"image": coded(png())}]})
    assert status == 200
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["answers"][0]["image"]))))
    assert np.array_equal(drawn, models["lab"].predict(image=png(), task="redraw"))


def test_many_at_once_get_each_their_own(port: int, models: dict[str, PersonalModel]) -> None:
    texts = [f"{word} {i}" for i in range(4) for word in WORDS]
    known = {text: models["clinic"].predict(text=text)["probabilities"] for text in texts}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda text: ask(port, "clinic", {"examples": [{"text": text}]}), texts))
    for text, (status, told) in zip(texts, replies, strict=True):
        assert status == 200
        assert told["answers"][0]["probabilities"] == pytest.approx(known[text], abs=2e-6)


def hostile() -> list[tuple[str, str, Any, dict[str, str]]]:
    """Return 200 requests that are to be refused: method, path, body, headers."""
    draw = random.Random("hostile")
    good = {"examples": [{"text": "rain"}]}
    at = "/models/clinic/predict"
    found: list[tuple[str, str, Any, dict[str, str]]] = []
    odd = [None, True, -1, 1.5, 10**30, "", "x" * 2_000, [], {}, [[]], {"text": 1}, [None], "\x00", "\u202e", float("nan"),
           float("inf"), "../../etc/passwd", ["a"], {"a": {"b": []}}]  # fmt: skip
    for value in odd:
        found.append(("POST", at, value, {}))
        found.append(("POST", at, {"examples": value}, {}))
        found.append(("POST", at, {"examples": [value]}, {}))
        found.append(("POST", at, {**good, "task": value} if value is not None else {**good, "model": 1}, {}))
        found.append(("POST", at, {"examples": [{"text": value}]} if not isinstance(value, str) or value in ("", "x" * 2_000)
                      else {"examples": [{"text": "rain", value: 1}]}, {}))  # fmt: skip
        found.append(("POST", "/models/lab/predict", {"task": "cells", "examples": [{"image": value}]}, {}))
    raw = [b"", b"{", b"[" * 30_000, b'{"a":' * 9_000, b"\xff\xfe", b"null", b"1e999", b'{"examples": [{"text": "\\ud800"}]}',
           b'{"\\ud800": 1}', b'{"examples": [{"\\ud800": 1}]}', b"9" * 6_000, b"PK\x03\x04", b"a=1&b=2"]  # fmt: skip
    found += [("POST", at, body, {}) for body in raw]
    names = ["nobody", "..", "../clinic", "%2e%2e%2fclinic", "%00", "clinic%00", "a" * 3_000, "%F0%9F%98%80", "%1b%5b2J", "%ff",
             "CLINIC", "clinic/", "clinic/../lab", "clinic;x", "%0d%0aset-cookie:a=b"]  # fmt: skip
    found += [("POST", f"/models/{name}/predict", good, {}) for name in names]
    found += [(method, at, None, {}) for method in ("GET", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH", "BREW")]
    found += [
        ("GET", path, None, {})
        for path in ("/x", "/docs", "/redoc", "/.env", "/models/clinic", "/openapi.yaml", "//", "/%2e%2e")
    ]
    found += [
        ("POST", at, good, {"content-type": kind})
        for kind in ("text/plain", "", "application/xml", "multipart/form-data")
    ]
    found += [
        ("POST", at, good, {"host": host})
        for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io:80")
    ]
    found += [("POST", at, good, {"content-encoding": coding}) for coding in ("gzip", "br", "identity")]
    found += [("POST", at, {"examples": [{"text": "a"}] * count}, {}) for count in (0, 5, 100)]
    found.append(("POST", at, {"examples": [{"text": "a" * 70_000}]}, {}))
    for content in (
        b"",
        b"GIF89a",
        png()[:60],
        png(150),
        b"%PDF-1.4",
        b"\x00" * 100,
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        png(99) * 2,
    ):
        more = {"task": "cells", "examples": [{"image": coded(content)}]}
        if content == png(99) * 2:
            more["examples"] = [{"image": coded(png(99))}] * 4
        found.append(("POST", "/models/lab/predict", more, {}))
    while len(found) < 200:
        body = bytearray(json.dumps(good).encode())
        for _ in range(draw.randrange(1, 4)):
            body[draw.randrange(0, 12)] = draw.randrange(128, 256)  # no UTF-8 any more
        found.append(("POST", at, bytes(body), {}))
    return found[:200]


def test_two_hundred_hostile_requests_are_each_told_4xx(port: int) -> None:
    asked = hostile()
    assert len(asked) == 200
    bad = []
    for method, path, body, headers in asked:
        status, got, told = call(port, method, path, body, headers)
        fine = 400 <= status < 500 and len(told) < 2_000 and b"Traceback" not in told and "set-cookie" not in got
        if not fine:
            bad.append((method, path[:60], str(body)[:80], headers, status, told[:200]))
    assert bad == []
    assert ask(port, "clinic", {"examples": [{"text": "rain"}]})[0] == 200


def sent(port: int, head: bytes, body: bytes = b"", *, wait: float = 0.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(head)
        time.sleep(wait)
        try:
            line.sendall(body)
            return line.recv(4_000)
        except (BrokenPipeError, ConnectionResetError):
            return line.recv(4_000)


def test_bodies_that_lie_about_their_size_or_never_come_are_refused(port: int) -> None:
    head = b"POST /models/clinic/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    assert b" 413 " in sent(port, head + b"content-length: 99999999999\r\n\r\n").splitlines()[0] + b" "
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    assert b" 413 " in sent(port, head + b"transfer-encoding: chunked\r\n\r\n", chunk * 5).splitlines()[0] + b" "
    assert b" 408 " in sent(port, head + b"content-length: 10\r\n\r\n", wait=1.5).splitlines()[0] + b" "
    assert b" 400 " in sent(port, b"NONSENSE\r\n\r\n").splitlines()[0] + b" "


def test_with_a_key_nothing_is_told_without_it(models: dict[str, PersonalModel]) -> None:
    with serving(models, key=KEY) as port:
        for path in ("/", "/page.js", "/health"):
            assert call(port, "GET", path)[0] == 200
        for headers in ({}, {"authorization": KEY}, {"authorization": f"Bearer {KEY}x"}, {"authorization": "Bearer "}):
            assert call(port, "GET", "/models", headers=headers)[0] == 401
            assert ask(port, "clinic", {"examples": [{"text": "rain"}]}, headers=headers)[0] == 401
            assert call(port, "GET", "/openapi.json", headers=headers)[0] == 401
        assert (
            ask(port, "clinic", {"examples": [{"text": "rain"}]}, headers={"authorization": f"Bearer {KEY}"})[0] == 200
        )


def test_others_are_let_in_with_a_key_only(
    models: dict[str, PersonalModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="a key is needed"):
        prepared(models, host="0.0.0.0", port=0)
    with pytest.raises(UserError, match="16 or more plain characters"):
        prepared(models, host="0.0.0.0", port=0, key="short")
    _, listening = prepared(models, host="0.0.0.0", port=0, key=KEY)
    listening.close()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot listen there"):
        prepared(models, port=taken.getsockname()[1])
    monkeypatch.delenv("FEDTAP_KEY", raising=False)
    assert read_key(None) is None
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read_key(tmp_path / "key") == KEY
    with pytest.raises(UserError, match="cannot be read"):
        read_key(tmp_path / "none")
    monkeypatch.setenv("FEDTAP_KEY", KEY)
    assert read_key(None) == KEY


def test_the_page_is_whole_and_takes_nothing_from_elsewhere(port: int, tmp_path: Path) -> None:
    status, headers, page = call(port, "GET", "/")
    assert status == 200
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    status, headers, script = call(port, "GET", "/page.js")
    assert (status, script.decode()) == (200, SCRIPT)
    assert headers["content-type"].startswith("text/javascript")
    assert b"http" not in page + script
    assert "innerHTML" not in SCRIPT
    for name in ("key", "model", "task", "text", "image", "ask", "answer"):
        assert f'id="{name}"'.encode() in page
    node = shutil.which("node")
    if node is not None:
        (tmp_path / "page.js").write_bytes(script)
        subprocess.run([node, "--check", tmp_path / "page.js"], check=True)
