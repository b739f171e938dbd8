"""A headless Chromium, spoken to through a pipe (the DevTools protocol): pages opened, looked at, asked. Needs no other package.

Not here: what is asked of a page (page_check.py), what is photographed (screenshots.py).
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")
TOLD = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
"""What the browser says of a page without being asked."""

PATIENCE = 120  # seconds


def found() -> str | None:
    """Return the browser's command, if there is one on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """A page in a browser: of some size, light or dark, on screen or in print."""

    def __init__(self, browser: _Pipe, session: str) -> None:
        self._browser, self._session = browser, session
        self.said: list[str] = []

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol; what the page says meanwhile is kept in ``said``."""
        answer, told = self._browser.call(method, given, self._session)
        for each in told:
            if each.get("method") in TOLD:
                self.said.append(_words(each))
        return answer

    def open(self, path: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file, or an address, as a screen of this size would show it."""
        self.said.clear()
        screen = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": False,
        }  # a mobile one would zoom out
        self.ask("Emulation.setDeviceMetricsOverride", **screen)
        self.ask(
            "Emulation.setEmulatedMedia",
            media="screen",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.navigate", url=path if isinstance(path, str) else path.resolve().as_uri())
        self.value(
            "new Promise(done => document.readyState === 'complete' ? done(1) : addEventListener('load', () => done(1)))"
        )

    def value(self, expression: str) -> Any:
        """Return what JavaScript makes of an expression, awaited.

        Raises
        ------
        RuntimeError
            If it throws.
        """
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:1000])
        return answer["result"].get("value")

    def photograph(self, top: float = 0, height: float | None = None) -> bytes:
        """Return a PNG of the page from some pixels below its top on; without a height, what is on the screen."""
        if height is None:
            answer = self.ask("Page.captureScreenshot", format="png")
        else:
            width = self.value("innerWidth")
            clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
            answer = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(answer["data"])


class _Pipe:
    """The two pipes to a browser: messages that end with a zero byte."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number, self._left = 0, b""

    def call(
        self, method: str, given: dict[str, Any], session: str = ""
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        os.write(self._to, json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0")
        told: list[dict[str, Any]] = []
        while True:
            answer = self._next()
            if answer.get("id") != self._number:
                told.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return answer["result"], told

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            if not select.select([self._back], [], [], PATIENCE)[0]:
                raise RuntimeError(f"the browser has said nothing for {PATIENCE} seconds")
            self._left += os.read(self._back, 1 << 20)
        line, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def page() -> Iterator[Page]:
    """Start a browser with one empty page, and end it afterwards.

    Raises
    ------
    RuntimeError
        If there is none on this machine.
    """
    command = found()
    if command is None:
        raise RuntimeError(f"no browser; install one of {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        # The browser reads its file 3 and writes its file 4. Named pipes, since a shell knows files by one digit only.
        ways = [Path(home, name) for name in ("to", "back")]
        for way in ways:
            os.mkfifo(way)
        to, back = (os.open(way, os.O_RDWR) for way in ways)  # which waits for nobody
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        shell = ["/bin/sh", "-c", 'to="$1"; back="$2"; shift 2; exec "$@" 3<"$to" 4>"$back"', "sh", *map(str, ways)]
        process = subprocess.Popen(
            [*shell, command, *flags, "--no-first-run", f"--user-data-dir={home}/browser", "about:blank"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            pipe = _Pipe(to, back)
            targets = pipe.call("Target.getTargets", {})[0]["targetInfos"]
            target = next((each["targetId"] for each in targets if each["type"] == "page"), None)
            if target is None:
                target = pipe.call("Target.createTarget", {"url": "about:blank"})[0]["targetId"]
            session = pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})[0]["sessionId"]
            yield Page(pipe, session)
        finally:
            process.kill()
            process.wait()
            os.close(to)
            os.close(back)


def _words(told: dict[str, Any]) -> str:
    given = told["params"]
    if told["method"] == "Runtime.exceptionThrown":
        details = given["exceptionDetails"]
        return str((details.get("exception") or {}).get("description") or details.get("text"))
    if told["method"] == "Log.entryAdded":
        return str(given["entry"]["text"])
    return " ".join(str(each.get("value")) for each in given["args"])
