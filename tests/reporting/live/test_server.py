"""The server of a run's page as its readers see it: who is let in, what is given, and that nobody holds up another."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from fedtap.reporting.live import server as module
from fedtap.reporting.live.server import PageServer, address, listen, new_secret
from fedtap.reporting.live.watched import Watched
from fedtap.runtime.errors import UserError
from synthetic_run import write_run

SECRET = "secret-of-the-test"
Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = write_run(tmp_path_factory.mktemp("server") / "run", finished=False)
    with PageServer(Watched(folder), listen(0), SECRET) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join(30)


def call(server: PageServer, path: str, method: str = "GET", **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def test_the_page_is_given_and_not_again_while_it_is_the_same(server: PageServer) -> None:
    status, headers, text = call(server, f"/{SECRET}/?x=1")
    assert status == 200
    assert b"What happened" in text
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["content-security-policy"].count("'sha256-") == 2
    status, _, text = call(server, f"/{SECRET}/", If_None_Match=headers["etag"])
    assert (status, text) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/", f"/{SECRET}/run.json", f"/{SECRET}/../run.json", f"/{SECRET}/%2e%2e/run.json", "/wrong/", "//"],
)
def test_no_path_leads_to_a_file_or_past_the_secret(server: PageServer, path: str) -> None:
    status, _, text = call(server, path)
    assert status == 404
    assert text.count(b"\n") == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "<b>"])
def test_pages_are_read_and_nothing_else(server: PageServer, method: str) -> None:
    status, headers, text = call(server, f"/{SECRET}/", method)
    assert status == 405
    assert b"<b>" not in text
    assert headers["connection"] == "close"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:1", ""])
def test_who_calls_it_by_another_name_is_refused(server: PageServer, host: str) -> None:
    assert call(server, f"/{SECRET}/", Host=host)[0] == 421


def test_it_is_called_localhost_too(server: PageServer) -> None:
    assert call(server, f"/{SECRET}/", Host=f"localhost:{server.server_address[1]}")[0] == 200


def test_readers_that_say_nothing_hold_up_nobody_and_too_many_are_turned_away(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.server_address[1])) for _ in range(module.AT_ONCE - 1)]
    try:
        assert call(server, f"/{SECRET}/")[0] == 200
        silent += [socket.create_connection(("127.0.0.1", server.server_address[1])) for _ in range(2)]
        silent[-1].settimeout(30)
        assert silent[-1].recv(1) == b""  # closed at once
    finally:
        for each in silent:
            each.close()


def test_only_this_machine_can_reach_it_and_a_port_that_is_taken_is_said() -> None:
    with listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        port = listening.getsockname()[1]
        assert address(listening, "s") == f"http://127.0.0.1:{port}/s/"
        with pytest.raises(UserError, match=f"--port {port}: cannot listen there"):
            listen(port)
    assert len({new_secret() for _ in range(9)}) == 9
