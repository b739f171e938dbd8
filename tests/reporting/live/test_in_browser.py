"""The live page in a headless Chromium, where there is one: it renews itself in place, and what the reader did to it stays."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from page_check import look

from fedtap.reporting.live import watched as module
from fedtap.reporting.live.server import PageServer, address, listen
from fedtap.reporting.live.watched import Watched
from fedtap.runtime.lock import locked
from synthetic_run import write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium.found() is None, reason=f"no browser here: one of {', '.join(chromium.NAMES)} is needed"
    ),
]
STATE = "document.querySelector('[data-live]').dataset.live"
ROUNDS = "document.querySelector('progress') && document.querySelector('progress').value"
SORTED = "document.querySelectorAll('th[aria-sort]').length"
OPEN = "document.querySelectorAll('details[open]').length"
PATIENCE = 90  # seconds, on a machine that has much else to do


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Page]:
    with chromium.page() as page:
        yield page


def until(browser: chromium.Page, expression: str, wanted: object) -> None:
    """Wait until the page comes to say something."""
    ends = time.monotonic() + PATIENCE
    while (found := browser.value(expression)) != wanted:
        assert time.monotonic() < ends, f"{expression} is {found!r}, not {wanted!r}"
        time.sleep(0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", outcomes=2)


@pytest.fixture
def url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(module, "SHARE", 0)  # no test waits for that
    with PageServer(Watched(folder), listen(0), "secret") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield address(server.socket, "secret")
        server.shutdown()
        thread.join(30)


def test_it_grows_in_place_to_the_finished_report(folder: Path, url: str, browser: chromium.Page) -> None:
    log = folder / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    third = next(
        at for at, line in enumerate(lines) if json.loads(line)["event"] == "round_finished" and '"round": 3' in line
    )
    log.write_text("".join(lines[: third + 1]))
    with locked(folder):
        browser.open(url, dark=True)
        until(browser, ROUNDS, 3)
        assert browser.value(STATE) == "going"
        browser.value(
            "(window.kept = document.querySelector('h1'), document.querySelectorAll('#clients th .sort')[1].click(),"
            " document.querySelector('.timeline td summary').click(), document.getElementById('clients').scrollIntoView(), 1)"
        )
        before = browser.value("document.getElementById('clients').getBoundingClientRect().top")
        with log.open("a") as file:
            file.write("".join(lines[third + 1 : -12]) + lines[-12][:20])  # the last line is half written
        until(browser, f"{ROUNDS} > 5", True)
        assert browser.value("window.kept === document.querySelector('h1')") is True  # nothing was loaded anew
        assert browser.value(SORTED) == 1
        assert browser.value(OPEN) == 1
        assert browser.value("scrollY") > 0
        assert abs(browser.value("document.getElementById('clients').getBoundingClientRect().top") - before) < 40
        assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"  # dark as it was
        log.write_text("".join(lines))
    until(browser, STATE, "ended")
    assert browser.value("document.querySelectorAll('.example').length") > 5
    assert "personal models" in browser.value("document.querySelector('.headline').textContent")
    assert browser.value("document.querySelectorAll('table.sortable th .sort').length") > 20  # new tables sort too
    assert browser.said == []


def test_it_is_sound_on_screen_and_phone_light_and_dark_and_says_when_a_run_has_died(
    folder: Path, url: str, browser: chromium.Page
) -> None:
    (folder / "results.json").unlink()
    (folder / ".lock").touch()
    found = look(browser, url)
    assert found["faults"] == []
    assert found["sorted"] > 3
    assert browser.value(STATE) == "stopped"
    assert "has died" in browser.value("document.querySelector('[data-live]').textContent")


def test_it_says_when_nobody_serves_it_any_more(folder: Path, browser: chromium.Page) -> None:
    (folder / "results.json").unlink()
    with PageServer(Watched(folder), listen(0), "secret") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        browser.open(address(server.socket, "secret"))
        server.shutdown()
        thread.join(30)
    until(
        browser, "document.getElementById('connection').textContent.startsWith('This page is no longer served')", True
    )
