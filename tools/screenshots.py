"""Photograph pages for the documents: a run's report light, dark and on a phone, a comparison, a sweep, a run that goes on.

    python tools/screenshots.py docs/figures --run runs/quickstart --compare runs/four --sweep runs/margins --live runs/quickstart

Each is left out whose folder is not named. The live page is of the run as it was after two thirds of its rounds: a copy of its
log up to there, in a folder that this process keeps.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import chromium
from PIL import Image

SHOTS = {
    "report-light": {"width": 1280, "dark": False, "tall": 1960},
    "report-dark": {"width": 1280, "dark": True, "tall": 1960},
    "report-phone": {"width": 390, "dark": False, "tall": 2300},
}
EXAMPLES = "examples-side-by-side"
MOST = 300_000  # bytes of a file


def main(arguments: Sequence[str]) -> int:
    """Write the pictures; return 2 if nothing was named."""
    parser = argparse.ArgumentParser(description="Photograph pages for the documents.")
    parser.add_argument("to", type=Path, help="the folder of the pictures")
    for name in ("run", "compare", "sweep", "live"):
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    given = parser.parse_args(arguments)
    if not any((given.run, given.compare, given.sweep, given.live)):
        print("name at least one folder: --run, --compare, --sweep or --live", file=sys.stderr)
        return 2
    with chromium.page() as page:
        if given.run:
            _run(page, given.run / "report.html", given.to)
        for folder, name in ((given.compare, "comparison"), (given.sweep, "sweep")):
            if folder:
                page.open(folder / f"{name}.html")
                _write(page.photograph(0, 2300), given.to / f"{name}.png")
        if given.live:
            with going_on(given.live) as address:
                page.open(address)
                _write(page.photograph(0, 1900), given.to / "live.png")
    return 0


def _run(page: chromium.Page, report: Path, to: Path) -> None:
    for name, shot in SHOTS.items():
        page.open(report, width=int(shot["width"]), dark=bool(shot["dark"]))
        _write(page.photograph(0, shot["tall"]), to / f"{name}.png")
    page.open(report)
    top = page.value(
        f"(e => e ? e.getBoundingClientRect().top + scrollY - 20 : null)(document.getElementById('{EXAMPLES}'))"
    )
    if top is not None:
        _write(page.photograph(top, 1900), to / "report-examples.png")


@contextmanager
def going_on(run: Path) -> Iterator[str]:
    """Give the address of the page of a run as it was in the midst of its rounds, while it is kept as one at work is."""
    from fedtap.reporting.live.server import PageServer, address, listen, new_secret
    from fedtap.reporting.live.watched import Watched
    from fedtap.runtime.lock import locked

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, run.name)
        folder.mkdir()
        shutil.copy(run / "run.json", folder)
        lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / "events.jsonl").write_text("".join(lines[: _midst(lines)]), encoding="utf-8")
        secret = new_secret()
        with locked(folder), PageServer(Watched(folder), listen(0), secret) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield address(server.socket, secret)
            server.shutdown()


def _midst(lines: Sequence[str]) -> int:
    """Return where two of the clients of a round have answered, when two thirds of the rounds are done."""
    events = [json.loads(line) for line in lines]
    last = max(int(event["round"]) for event in events if event["event"] == "round_finished")
    round_number = 2 * last // 3 + 1
    answers = [
        at for at, event in enumerate(events) if event["event"] == "update" and event.get("round") == round_number
    ]
    return answers[min(1, len(answers) - 1)] + 1


def _write(png: bytes, to: Path) -> None:
    """Write a picture in 256 colours, which a page has hardly more of; raises ValueError if it is too large even so."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    if file.tell() > MOST:
        raise ValueError(f"{to}: {file.tell():,} bytes, {MOST:,} at the most; photograph less")
    to.write_bytes(file.getvalue())
    print(f"{to}: {file.tell():,} bytes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
